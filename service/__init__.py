"""The application: settings, authentication, the endpoints, the worker, and the command line."""

VERSION = "0.1.0"
"""The version of the service, as in pyproject.toml."""
