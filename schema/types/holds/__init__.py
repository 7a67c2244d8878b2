"""Holds of starts."""
