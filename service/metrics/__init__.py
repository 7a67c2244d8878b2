"""Metrics for Prometheus: what is measured, and the port where it is read."""
