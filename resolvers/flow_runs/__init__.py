"""The logic behind the fields and mutations of flow runs."""
