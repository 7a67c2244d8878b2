"""Measures the cost of reads, beside a hand-written endpoint, plain Strawberry and PostGraphile. See `__main__`."""
