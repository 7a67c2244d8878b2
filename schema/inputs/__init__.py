"""What clients pass to fields: the input types, one module a topic."""
