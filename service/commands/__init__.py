"""Commands of the command line, and what they share. cli.py adds them."""
