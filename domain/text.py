"""Two forms of text: the folded form, in which upper and lower case are equal, and the names that clients know."""

import re
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


_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_ESCAPE = re.compile(r"\\(u00[01][0-9a-f]|.)")


def searched_json(text: str) -> str:
    """Returns the text of a JSON document in which is searched: folded, its strings as they are, without escapes."""
    return fold(_ESCAPE.sub(_unescaped, text) if "\\" in text else text)


def _unescaped(match: re.Match[str]) -> str:
    escape = match[1]
    if len(escape) > 1:
        code = int(escape[1:], 16)
        # PostgreSQL's texts cannot hold U+0000; U+0001 has a use of its own there.
        return chr(code) if code > 1 else match[0]
    return _ESCAPES.get(escape, escape)
