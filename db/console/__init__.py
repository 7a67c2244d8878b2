"""What people keep for the console and for clients of its kind."""
