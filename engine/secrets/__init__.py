"""Secrets of projects: encryption at rest, placeholders in rendered inputs, and masking of values that programs repeat.

A template refers to a secret as `secrets.NAME`. It never sees the value: it renders to a placeholder (`placeholders`),
which the journal keeps. The value replaces the placeholder when an attempt is about to run (`run_secrets`). Everything
that the attempt returns, logs, stores or raises is searched for the values of the project, in the forms in which
programs repeat values (`masks`).
"""
