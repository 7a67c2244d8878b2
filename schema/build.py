"""The schema, assembled."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from inspect import isawaitable
from pathlib import Path
from typing import Any, cast

import strawberry
from graphql import (
    DocumentNode,
    Executor,
    GraphQLError,
    MiddlewareManager,
    OperationDefinitionNode,
    Undefined,
    create_source_event_stream,
)
from graphql import ExecutionResult as GraphQLExecutionResult
from strawberry.exceptions import MissingQueryError
from strawberry.extensions import AddValidationRules, ParserCache, SchemaExtension, ValidationCache
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.exceptions import CannotGetOperationTypeError
from strawberry.types import ExecutionContext, ExecutionResult, StreamExecutionResult
from strawberry.types.graphql import OperationType

from resolvers.subscriptions import SourceStream
from schema.cost import QueryLimits, RepeatedNames
from schema.errors import ERROR_MAPPINGS, to_client_error
from schema.mutations.root import Mutation
from schema.query import Query
from schema.scalars import SCALARS
from schema.subscription import Subscription

SDL_FILE = Path(__file__).parent / "schema.graphql"

CACHED_DOCUMENTS = 1_000
"""Documents kept parsed and validated: what applications send comes again and again."""


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A subscription under way."""

    executor: Executor[Any]
    """Executes the operation for one event, by `build_per_event_executor`."""
    document: DocumentNode
    source: SourceStream[Any, Any]
    """The events, for each of which the operation is executed."""


class FlowRunsSchema(strawberry.Schema):
    """The schema. Every error that leaves it has a code, and internal errors are masked."""

    def __init__(self, **arguments: Any) -> None:
        """Builds the schema, and removes defaults of null from it: to resolvers, null and absent mean the same."""
        super().__init__(**arguments)
        for named_type in self._schema.type_map.values():
            for field in getattr(named_type, "fields", {}).values():
                for declared in (field, *getattr(field, "args", {}).values()):
                    if getattr(declared, "default_value", Undefined) is None:
                        declared.default_value = Undefined

    async def execute(self, *args: Any, **kwargs: Any) -> ExecutionResult:
        """The result of an operation."""
        result = await super().execute(*args, **kwargs)
        if result.errors:
            result.errors = [to_client_error(error) for error in result.errors]
        return result

    async def subscribe_to(
        self, query: str | None, variables: dict[str, Any] | None, operation_name: str | None, context: object
    ) -> "Subscribed | list[GraphQLError] | None":
        """The source of a subscription, or why there is none; None when the operation is not a subscription."""
        execution = self._create_execution_context(
            query=query,
            allowed_operation_types=OperationType,
            variable_values=variables,
            context_value=context,
            operation_name=operation_name,
        )
        extensions = self.get_extensions()
        for extension in extensions:
            extension.execution_context = execution
        runner = self.create_extensions_runner(execution, extensions)
        try:
            async with runner.operation():
                refused = await self._prepare_operation_async(execution, runner)
                if refused is not None:
                    return [to_client_error(error) for error in refused.errors or ()]
                if execution.operation_type is not OperationType.SUBSCRIPTION:
                    return None
                async with runner.executing():
                    return await self._source(execution, self._get_middleware_manager(extensions))
        except MissingQueryError:
            return [to_client_error(GraphQLError("There is no query."))]
        except CannotGetOperationTypeError as error:
            return [to_client_error(GraphQLError(error.as_http_error_reason()))]
        except Exception as error:
            return [
                to_client_error(
                    error if isinstance(error, GraphQLError) else GraphQLError(str(error), original_error=error)
                )
            ]

    async def _source(
        self, execution: ExecutionContext, middleware: MiddlewareManager
    ) -> "Subscribed | list[GraphQLError]":
        document = execution.graphql_document
        assert document is not None
        executor = Executor.build(
            self._schema,
            document,
            context_value=execution.context,
            raw_variable_values=execution.variables,
            operation_name=execution.operation_name,
            middleware=middleware,
        )
        if isinstance(executor, list):
            return [to_client_error(error) for error in executor]
        source = create_source_event_stream(executor)
        if isawaitable(source):
            source = await source
        if isinstance(source, GraphQLExecutionResult):
            return [to_client_error(error) for error in source.errors or ()]
        return Subscribed(executor, document, cast("SourceStream[Any, Any]", source))

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Leaves the log to `told`, which knows which errors are ours."""


class StreamErrorExtension(SchemaExtension):
    """Does for what is sent over a socket what `FlowRunsSchema.execute` does for responses."""

    def on_stream_result(self, result: StreamExecutionResult) -> Iterator[None]:
        if isinstance(result, ExecutionResult | GraphQLExecutionResult) and result.errors:
            result.errors = [to_client_error(error) for error in result.errors]
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
            StreamErrorExtension,
            NamedOperation,
            QueryLimits,
            lambda: AddValidationRules([RepeatedNames]),
            lambda: ParserCache(maxsize=CACHED_DOCUMENTS),
            lambda: ValidationCache(maxsize=CACHED_DOCUMENTS),
        ],
        exception_handlers=ERROR_MAPPINGS,
        config=StrawberryConfig(scalar_map=SCALARS),
    )


def sdl() -> str:
    """The schema in GraphQL's definition language, as schema.graphql holds it."""
    return build_schema().as_str() + "\n"
