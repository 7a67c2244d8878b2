"""The input types of fields, one module for each topic."""
