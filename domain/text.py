"""Two forms of text: the folded form, in which upper and lower case are equal, and the names that clients know."""

from string import ascii_lowercase, ascii_uppercase
from unicodedata import normalize

_ASCII_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)


def fold(text: str) -> str:
    """Returns `text` in the folded form, in which texts of every alphabet are compared without regard to case.

    The form is Unicode's full case folding (`ß` is `ss`, all three sigmas are one), in composed characters. The
    databases fold only ASCII, so the result of `fold_column` is stored in a column.
    """
    return text.lower() if text.isascii() else normalize("NFC", normalize("NFC", text).casefold())


def fold_column(text: str | None) -> str | None:
    """Returns the text that is stored beside `text`: its folded form, or None where SQL's `lower` of ASCII letters
    gives it."""
    if text is None or text.isascii():
        return None
    folded = fold(text)
    return None if folded == lower_ascii(text) else folded


def lower_ascii(text: str) -> str:
    """Returns `text` with its ASCII letters in lower case, as SQL's `lower` does."""
    return text.translate(_ASCII_LOWER)


def client_name(name: str) -> str:
    """Returns the name under which clients know an attribute or a column, in camel case."""
    head, *tail = name.rstrip("_").split("_")
    return head + "".join(word.capitalize() for word in tail)
