"""Alerts, groups of equal events, and notifications."""
