"""Tests of bulk operations through the API."""
