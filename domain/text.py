"""Text from outside, as both databases can keep it."""


def storable(value: str, length: int) -> str:
    """`value`, at most `length` characters of it."""
    # PostgreSQL knows no NUL in texts, and UTF-8 no half of a surrogate pair.
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()[:length]
