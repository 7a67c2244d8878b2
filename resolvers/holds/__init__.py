"""Holds of starts, over the API."""
