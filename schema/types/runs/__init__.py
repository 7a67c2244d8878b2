"""The object types of the parts of runs."""
