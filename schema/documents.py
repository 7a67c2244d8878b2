"""Keeps documents parsed and validated, within bounds of memory: applications send the same ones again and again."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

from graphql import ASTValidationRule, DocumentNode, GraphQLError, GraphQLSchema, parse
from strawberry.schema.schema import validate_document

from schema.cost import MAX_TOKENS

KEPT_DOCUMENTS = 1_000
"""Largest number of documents that are kept."""
KEPT_CHARACTERS = 1_000_000
"""Largest number of characters of all documents that are kept. Parsed, a character takes up to 120 bytes; documents of
applications have about 1,000 characters."""
_KEPT_SHARE = 10
"""A document that would take more than this part of the characters is not kept: it would displace many others."""

K = TypeVar("K")
V = TypeVar("V")
Rules = tuple[type[ASTValidationRule], ...]


class RecentDocuments(Generic[K, V]):
    """What is kept of the documents that were used last. Those that were not used for longest are dropped first."""

    def __init__(self, documents: int = KEPT_DOCUMENTS, characters: int = KEPT_CHARACTERS) -> None:
        """`documents` and `characters` are the largest sums of those that are kept."""
        self._documents = documents
        self._characters = characters
        self._used = 0
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def find(self, key: K) -> V | None:
        """Returns what was kept under `key`; None if there is nothing, or no longer."""
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V, characters: int) -> V:
        """Keeps `value`, which it returns, for a key that was not found, and a document with so many characters."""
        if characters <= self._characters // _KEPT_SHARE:
            self._kept[key] = value, characters
            self._used += characters
            while len(self._kept) > self._documents or self._used > self._characters:
                _, (_, dropped) = self._kept.popitem(last=False)
                self._used -= dropped
        return value


@dataclass(slots=True)
class _Parsed:
    document: DocumentNode
    errors: dict[Rules, list[GraphQLError]]
    """What validation by these rules found."""


class ParsedDocuments:
    """The documents of one schema that were used last. A text that is no document is not kept."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self._recent: RecentDocuments[str, _Parsed] = RecentDocuments()

    def parse(self, text: str) -> DocumentNode:
        """Returns the document with this text.

        Raises:
            GraphQLError: the text is no document, or has more than MAX_TOKENS tokens.
        """
        return self._find(text).document

    def validate(self, text: str, rules: Rules) -> list[GraphQLError]:
        """Returns the errors of the document with this text.

        Raises:
            QueryTooComplexError: a rule refuses the document before others would be slow on it.
        """
        parsed = self._find(text)
        errors = parsed.errors.get(rules)
        if errors is None:
            errors = parsed.errors[rules] = validate_document(self._schema, parsed.document, rules)
        return errors

    def _find(self, text: str) -> _Parsed:
        parsed = self._recent.find(text)
        if parsed is None:
            parsed = self._recent.put(text, _Parsed(parse(text, max_tokens=MAX_TOKENS), {}), len(text))
        return parsed
