"""What reads cost, beside a hand-written endpoint, plain Strawberry and PostGraphile. See `__main__`."""
