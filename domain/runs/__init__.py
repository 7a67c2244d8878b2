"""Runs without a database: their filter, log lines, files, statuses and errors."""
