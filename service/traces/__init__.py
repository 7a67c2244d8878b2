"""Traces for OpenTelemetry: where spans are sent, and which traces are recorded."""
