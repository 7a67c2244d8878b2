"""API keys, access tokens and the audit log."""
