"""Documents that clients name instead of sending their text.

Automatic persisted queries are Apollo's protocol: a client sends the SHA-256 of a document, and its text only if the
service does not know it. Trusted documents are a list from the operator; with such a list, the service executes nothing
else.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import click

from domain.errors import (
    BadRequestError,
    DocumentNotTrustedError,
    PersistedQueryNotFoundError,
    PersistedQueryNotSupportedError,
    QueryTooComplexError,
)

MAX_DOCUMENT_BYTES = 64 * 1024
"""Largest size in bytes of a document that is kept. Documents of applications have some kilobytes; longer ones are
executed, and must be sent each time."""
MAX_CHARACTERS = 100_000
"""Largest number of characters of a document. Parsing reads one after the other, while nothing else is executed: as
many take 0.1 s, and 100 errors another 0.3 s. Long texts belong into variables."""
_PREFIX = "sha256:"
"""Prefix by which GraphQL over HTTP marks a `documentId` that is the hash of its document."""


class Documents(Protocol):
    """Finds the text of the document that a request sends or names."""

    def text_of(self, request: Mapping[str, Any]) -> Any:
        """Returns the text, or the malformed value in its place, which is refused later.

        Raises:
            RequestError: the document is unknown, or may not be executed.
        """
        ...


class PersistedDocuments:
    """Documents that clients have sent, by their hash. The least recently used ones are dropped first.

    Each process has its own: a client whose request meets another process sends the text again.
    """

    def __init__(self, capacity: int) -> None:
        """`capacity` is the largest number of documents; 0 turns persisted queries off."""
        self._capacity = capacity
        self._texts: OrderedDict[str, str] = OrderedDict()

    def text_of(self, request: Mapping[str, Any]) -> Any:
        """Returns the text of the document that the request sends or names.

        Raises:
            PersistedQueryNotFoundError: the client must send the document.
            PersistedQueryNotSupportedError: persisted queries are turned off, and the request has no text.
            BadRequestError: the hash is malformed, or is not the hash of the text.
            QueryTooComplexError: the text is too long.
        """
        query, named = request.get("query"), _named(request)
        if isinstance(query, str) and len(query) > MAX_CHARACTERS:
            raise QueryTooComplexError(
                f"The document has more than {MAX_CHARACTERS:,} characters. Send long texts as variables."
            )
        if named is None or (query and not self._capacity):
            return query
        if not self._capacity:
            raise PersistedQueryNotSupportedError
        digest = named.removeprefix(_PREFIX).lower()
        if not query:
            if (known := self._texts.get(digest)) is None:
                raise PersistedQueryNotFoundError
            self._texts.move_to_end(digest)
            return known
        if isinstance(query, str):
            self._keep(query, digest)
        return query

    def _keep(self, query: str, digest: str) -> None:
        content = query.encode(errors="surrogatepass")
        if _sha256(content) != digest:
            raise BadRequestError("The hash of the persisted query is not the SHA-256 of `query`.")
        if len(content) <= MAX_DOCUMENT_BYTES:
            self._texts[digest] = query
            self._texts.move_to_end(digest)
            if len(self._texts) > self._capacity:
                self._texts.popitem(last=False)


class TrustedDocumentsFileError(click.ClickException):
    """The file of trusted documents cannot be used. The command ends with this message."""


class TrustedDocuments:
    """The documents of files, and no others. Requests identify them by their names in the files, or by their hashes."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = {name.removeprefix(_PREFIX): text for name, text in texts.items()}
        self._texts |= {_sha256(text.encode(errors="surrogatepass")): text for text in texts.values()}
        self._known = frozenset(self._texts.values())

    def text_of(self, request: Mapping[str, Any]) -> Any:
        """Returns the text of the trusted document that the request names, or else sends.

        Raises:
            DocumentNotTrustedError: the request names or sends another one.
        """
        query, named = request.get("query"), _named(request)
        if named is None:
            if isinstance(query, str) and query not in self._known:
                raise DocumentNotTrustedError
            return query
        text = self._texts.get(named.removeprefix(_PREFIX))
        if text is None or (query and query != text):
            raise DocumentNotTrustedError
        return text


def read_trusted(files: Iterable[Path]) -> Mapping[str, str]:
    """Returns the documents of JSON files that map IDs to texts, as Relay's compiler and GraphQL Codegen write them.

    Raises:
        TrustedDocumentsFileError: a file cannot be read, or has another form.
    """
    texts: dict[str, str] = {}
    for file in files:
        try:
            content = json.loads(file.read_bytes())
        except OSError as error:
            raise TrustedDocumentsFileError(f"The trusted documents {file} cannot be read: {error.strerror}.") from None
        except ValueError as error:
            raise TrustedDocumentsFileError(f"The trusted documents {file} are not JSON: {error}.") from None
        if not isinstance(content, dict) or not all(isinstance(text, str) for text in content.values()):
            raise TrustedDocumentsFileError(
                f"The trusted documents {file} must be a JSON object that maps IDs to the texts of documents."
            )
        texts |= content
    return texts


def _named(request: Mapping[str, Any]) -> str | None:
    """Returns the ID or the hash of the document that the request names; None if it names none.

    Raises:
        BadRequestError: the name is malformed.
    """
    document_id = request.get("documentId")
    if document_id is not None:
        if not isinstance(document_id, str) or not document_id:
            raise BadRequestError("`documentId` must be a string that is not empty.")
        return document_id
    extensions = request.get("extensions")
    persisted = extensions.get("persistedQuery") if isinstance(extensions, dict) else None
    if persisted is None:
        return None
    digest = persisted.get("sha256Hash") if isinstance(persisted, dict) and persisted.get("version") == 1 else None
    if not isinstance(digest, str) or not digest:
        raise BadRequestError("`persistedQuery` must be an object with `version: 1` and the text `sha256Hash`.")
    return digest


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
