"""The application: settings, authentication, the endpoints, the worker, and the command line."""
