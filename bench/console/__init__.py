"""What the console costs those who look at it."""
