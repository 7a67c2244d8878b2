"""Tables of what people keep for the console and of its kind of clients."""
