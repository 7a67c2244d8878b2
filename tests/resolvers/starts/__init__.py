"""Tests of the ways in which runs are started through the API."""
