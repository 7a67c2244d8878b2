"""Deletion of flows and projects, and what retention takes."""
