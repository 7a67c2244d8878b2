"""Placeholders of secrets in rendered values.

While a template renders, a reference `secrets.NAME` is a text with a random marker that only this execution knows.
Afterwards the text has two forms: the *shown* form `{{ secrets.NAME }}`, which is journalled, and the *actual* form
with the value, which an attempt receives. Data that happen to contain `{{ secrets.NAME }}` are not a reference: a
caller of a webhook cannot ask for a secret.

The filters `b64encode` and `urlencode` apply to the value, so they are recorded in the text and applied when the value
is inserted.
"""

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from engine.errors import StepError

ENCODINGS: Mapping[str, Callable[[str], str]] = {
    "b64encode": lambda text: base64.b64encode(text.encode()).decode(),
    "urlencode": lambda text: quote(text, safe=""),
}
"""The filters that can be applied to a secret, by name."""

Offsets = dict[str, list[int]]
"""The positions of the placeholders in a shown value: for the JSON pointer of a string, the offsets of its
placeholders."""

_TOKEN = re.compile(r"<(?P<marker>[0-9a-f]{16})([:()])([A-Za-z0-9_]*)>")
"""Matches a part of a reference. The pattern is the same for all markers, because compiling one for each run would take
longer than the run."""
PLACEHOLDER = re.compile(r"\{\{ secrets\.([A-Za-z_][A-Za-z0-9_]*) \}\}")
"""Matches a placeholder in the form that the journal keeps."""


def reference(marker: str, name: str) -> str:
    """Returns the text of a reference to the secret `name` while a template renders."""
    return f"<{marker}:{name}>"


def encoded(marker: str, encoding: str, text: str) -> str:
    """Returns the text that stands for `text`, which has references, encoded by one of ENCODINGS."""
    return f"<{marker}({encoding}>{text}<{marker})>"


def shown(name: str) -> str:
    """Returns the placeholder of a secret in the form that the journal keeps."""
    return f"{{{{ secrets.{name} }}}}"


class Placeholders:
    """The references of one execution, recognised by its marker."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def _tokens(self, text: str) -> Iterator[re.Match[str]]:
        return (match for match in _TOKEN.finditer(text) if match["marker"] == self.marker)

    def names(self, value: Any) -> set[str]:
        """Returns the names of the secrets to which `value` refers."""
        return {match[3] for text in _texts(value) for match in self._tokens(text) if match[2] == ":" and match[3]}

    def shown(self, value: Any) -> Any:
        """Returns `value` in the form that is journalled."""
        return self._replaced(value, shown, lambda encoding, text: f"{encoding}({text})")

    def actual(self, value: Any, values: Mapping[str, str]) -> Any:
        """Returns `value` with the values of the secrets, which are given by name."""
        return self._replaced(value, values.__getitem__, lambda encoding, text: ENCODINGS[encoding](text))

    def located(self, value: Any) -> tuple[Any, Offsets]:
        """Returns `value` in the form that is journalled, and the positions of its placeholders, for `inserted`.

        Raises:
            StepError: TEMPLATE_ERROR, a secret is encoded and so cannot be passed on.
        """
        offsets: Offsets = {}
        for pointer, text in _pointers(value, ""):
            found: list[int] = []
            before = end = 0
            for match in self._tokens(text):
                if match[2] != ":":
                    message = "A secret can be passed on to a child run only as it is: encode it where it is used."
                    raise StepError("TEMPLATE_ERROR", message, retryable=False)
                before += match.start() - end
                found.append(before)
                before += len(shown(match[3]))
                end = match.end()
            if found:
                offsets[pointer] = found
        return self.shown(value), offsets

    def inserted(self, value: Any, offsets: Mapping[str, list[int]], pointer: str = "") -> Any:
        """Returns a shown `value` with the references that `located` found in it."""
        if isinstance(value, str):
            return self._inserted_text(value, offsets.get(pointer, ()))
        if isinstance(value, dict):
            return {key: self.inserted(entry, offsets, f"{pointer}/{_escaped(key)}") for key, entry in value.items()}
        if isinstance(value, list):
            return [self.inserted(entry, offsets, f"{pointer}/{index}") for index, entry in enumerate(value)]
        return value

    def _inserted_text(self, text: str, offsets: Any) -> str:
        for offset in reversed(offsets):
            if match := PLACEHOLDER.match(text, offset):
                text = text[:offset] + reference(self.marker, match[1]) + text[match.end() :]
        return text

    def _replaced(self, value: Any, put: Callable[[str], str], encode: Callable[[str, str], str]) -> Any:
        if isinstance(value, str):
            return self._replaced_text(value, put, encode) if self.marker in value else value
        if isinstance(value, dict):
            return {
                self._replaced(key, put, encode): self._replaced(entry, put, encode) for key, entry in value.items()
            }
        if isinstance(value, list):
            return [self._replaced(entry, put, encode) for entry in value]
        return value

    def _replaced_text(self, text: str, put: Callable[[str], str], encode: Callable[[str, str], str]) -> str:
        open_parts: list[tuple[str, list[str]]] = [("", [])]
        end = 0
        for match in self._tokens(text):
            open_parts[-1][1].append(text[end : match.start()])
            end = match.end()
            if match[2] == ":":
                open_parts[-1][1].append(put(match[3]))
            elif match[2] == "(":
                open_parts.append((match[3], []))
            elif len(open_parts) > 1:
                encoding, parts = open_parts.pop()
                open_parts[-1][1].append(encode(encoding, "".join(parts)))
        open_parts[-1][1].append(text[end:])
        # A template that cuts the text of a reference leaves parts of it, which have no meaning.
        joined = "".join(part for _, parts in open_parts for part in parts)
        return joined.replace(self.marker, "")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield key
            yield from _texts(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _texts(entry)


def _pointers(value: Any, pointer: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield pointer, value
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from _pointers(entry, f"{pointer}/{_escaped(key)}")
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from _pointers(entry, f"{pointer}/{index}")


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
