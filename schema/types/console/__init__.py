"""Types of what people keep for the console."""
