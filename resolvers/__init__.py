"""The reads and writes behind the fields: they return rows or raise the errors of domain/errors.py."""
