"""Tests of keys, tokens, roles and the audit log through the API."""
