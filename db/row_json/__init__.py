"""The JSON text of rows, written by the database itself."""
