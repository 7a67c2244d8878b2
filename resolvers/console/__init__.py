"""What people keep for the console, after checking the rights of the viewer."""
