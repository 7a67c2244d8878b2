"""Type and name of the operation of a request, for metrics and traces."""

from functools import lru_cache

from graphql import GraphQLError, get_operation_ast, parse

from domain.observation.spans import Span
from schema.cost import MAX_TOKENS

OTHER = "other"
"""Stands for names that are not told apart."""
UNNAMED = ""
INVALID = "invalid"
"""The type of a document that has no operation to execute."""
_CACHED_DOCUMENTS = 1_000
"""Documents whose operations are kept: applications send the same ones again and again."""
_MAX_DOCUMENT = 20_000
"""Characters of a document that is looked at. Larger ones are rare, and keeping them would take much memory."""
_LARGE = ("large", OTHER)
"""Type and name of the operation of a document that is not looked at."""


def operation_of(document: str, name: str | None) -> tuple[str, str]:
    """Returns type and name of the operation that a request executes."""
    return _operation(document, name) if len(document) <= _MAX_DOCUMENT else _LARGE


@lru_cache(maxsize=_CACHED_DOCUMENTS)
def _operation(document: str, name: str | None) -> tuple[str, str]:
    try:
        node = get_operation_ast(parse(document, no_location=True, max_tokens=MAX_TOKENS), name)
    except (GraphQLError, ValueError, RecursionError):
        return INVALID, UNNAMED
    if node is None:
        return INVALID, UNNAMED
    return node.operation.value, node.name.value if node.name is not None else UNNAMED


def describe(span: Span, document: str | None, name: str | None) -> None:
    """Names the span of an operation after it, such as `query Runs`."""
    operation_type, operation = operation_of(document or "", name)
    span.rename(f"{operation_type} {operation}".rstrip())
    span.set("graphql.operation.type", operation_type)
    if operation != UNNAMED:
        span.set("graphql.operation.name", operation)
