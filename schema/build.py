"""The schema, assembled."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import strawberry
from graphql import ExecutionResult as GraphQLExecutionResult
from graphql import GraphQLError, OperationDefinitionNode
from strawberry.extensions import AddValidationRules, ParserCache, SchemaExtension, ValidationCache
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext, ExecutionResult, StreamExecutionResult

from schema.errors import TELLERS, told
from schema.limits import QueryLimits, RepeatedNames
from schema.mutation import Mutation
from schema.query import Query
from schema.scalars import SCALARS
from schema.subscription import Subscription

SDL_FILE = Path(__file__).parent / "schema.graphql"

CACHED_DOCUMENTS = 1_000
"""Documents kept parsed and validated: what applications send comes again and again."""


class FlowRunsSchema(strawberry.Schema):
    """The schema; every error that leaves it has a code, and ours are masked."""

    async def execute(self, *args: Any, **kwargs: Any) -> ExecutionResult:
        """The result of an operation."""
        result = await super().execute(*args, **kwargs)
        if result.errors:
            result.errors = [told(error) for error in result.errors]
        return result

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Leaves the log to `told`, which knows which errors are ours."""


class ToldInStreams(SchemaExtension):
    """Does for what is sent over a socket what `FlowRunsSchema.execute` does for responses."""

    def on_stream_result(self, result: StreamExecutionResult) -> Iterator[None]:
        if isinstance(result, ExecutionResult | GraphQLExecutionResult) and result.errors:
            result.errors = [told(error) for error in result.errors]
        yield


class NamedOperation(SchemaExtension):
    """Refuses a document with several operations when the request names none: Strawberry would take the first."""

    def on_execute(self) -> Iterator[None]:
        context = self.execution_context
        assert context.graphql_document is not None
        nodes = context.graphql_document.definitions
        operations = sum(isinstance(node, OperationDefinitionNode) for node in nodes)
        if operations > 1 and context._provided_operation_name is None:  # noqa: SLF001
            raise GraphQLError("The document has several operations: say which with `operationName`.")
        yield


@cache
def build_schema() -> FlowRunsSchema:
    """The schema that clients see; holds nothing of a request."""
    return FlowRunsSchema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        extensions=[
            ToldInStreams,
            NamedOperation,
            QueryLimits,
            lambda: AddValidationRules([RepeatedNames]),
            lambda: ParserCache(maxsize=CACHED_DOCUMENTS),
            lambda: ValidationCache(maxsize=CACHED_DOCUMENTS),
        ],
        exception_handlers=TELLERS,
        config=StrawberryConfig(scalar_map=SCALARS),
    )


def sdl() -> str:
    """The schema in GraphQL's definition language, as schema.graphql holds it."""
    return build_schema().as_str() + "\n"
