"""Commands of the command line, apart from cli.py, which adds them."""
