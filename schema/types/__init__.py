"""The object types, over rows."""
