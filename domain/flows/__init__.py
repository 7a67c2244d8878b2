"""The flow language: definitions, names, templates and JSON Schemas."""
