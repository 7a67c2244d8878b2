"""Builds the schema from its root types, extensions and limits."""

from collections.abc import Iterator, Mapping
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
from strawberry.extensions import AddValidationRules, SchemaExtension
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.exceptions import CannotGetOperationTypeError
from strawberry.types import ExecutionContext, ExecutionResult
from strawberry.types.graphql import OperationType

from resolvers.context import Context
from resolvers.subscriptions import SourceStream
from schema import visibility
from schema.charging import QueryLimits, charge_if_refused
from schema.cost import RepeatedNames
from schema.documents import ParsedDocuments
from schema.errors import ERROR_MAPPINGS, to_client_error
from schema.executor import FlowRunsExecutor
from schema.mutations.root import Mutation
from schema.query import Query
from schema.scalars import SCALARS
from schema.subscription import Subscription

SDL_FILE = Path(__file__).parent / "schema.graphql"


@dataclass(frozen=True, slots=True)
class Subscribed:
    """An active subscription."""

    executor: Executor[Any]
    """Executes the operation for one event, by `build_per_event_executor`."""
    document: DocumentNode
    source: SourceStream[Any, Any]
    """The source of events. The operation is executed for each of them."""
    extensions: Mapping[str, Any]
    """What the first result reports beside its data: the cost of the subscription."""


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
        self.documents = ParsedDocuments(self._schema)

    async def execute(
        self,
        query: str | None,
        variable_values: dict[str, Any] | None = None,
        context_value: Context | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> ExecutionResult:
        """Returns the result of an operation."""
        result = await super().execute(query, variable_values, context_value, *args, **kwargs)
        if result.errors:
            result.errors = [to_client_error(error) for error in result.errors]
            if result.data is None and context_value is not None:
                charge_if_refused(context_value, result.errors)
        return result

    async def subscribe_to(
        self, query: str | None, variables: dict[str, Any] | None, operation_name: str | None, context: Context
    ) -> "Subscribed | list[GraphQLError] | None":
        """Starts a subscription; returns it, or errors. None: the operation is not a subscription."""
        subscribed = await self._subscribe_to(query, variables, operation_name, context)
        if isinstance(subscribed, list):
            charge_if_refused(context, subscribed)
        return subscribed

    async def _subscribe_to(
        self, query: str | None, variables: dict[str, Any] | None, operation_name: str | None, context: Context
    ) -> "Subscribed | list[GraphQLError] | None":
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
                invalid = await self._prepare_operation_async(execution, runner)
                if invalid is not None:
                    return [to_client_error(error) for error in invalid.errors or ()]
                if execution.operation_type is not OperationType.SUBSCRIPTION:
                    return None
                async with runner.executing():
                    reported = await runner.get_extensions_results(execution)
                    return await self._source(execution, self._get_middleware_manager(extensions), reported)
        except MissingQueryError:
            return [to_client_error(GraphQLError("The request has no `query`. Send a GraphQL document."))]
        except CannotGetOperationTypeError as error:
            return [to_client_error(GraphQLError(error.as_http_error_reason()))]
        except Exception as error:
            return [
                to_client_error(
                    error if isinstance(error, GraphQLError) else GraphQLError(str(error), original_error=error)
                )
            ]

    async def _source(
        self, execution: ExecutionContext, middleware: MiddlewareManager, extensions: Mapping[str, Any]
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
        return Subscribed(executor, document, cast("SourceStream[Any, Any]", source), extensions)

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Logs nothing: `to_client_error` logs internal errors, and only these."""


class NamedOperation(SchemaExtension):
    """Refuses a document with several operations if the request names none. Strawberry would execute the first."""

    def on_execute(self) -> Iterator[None]:
        context = self.execution_context
        assert context.graphql_document is not None
        nodes = context.graphql_document.definitions
        operations = sum(isinstance(node, OperationDefinitionNode) for node in nodes)
        if operations > 1 and context._provided_operation_name is None:  # noqa: SLF001
            raise GraphQLError("The document has several operations. Name one with `operationName`.")
        yield


class Visibility(SchemaExtension):
    """Refuses a document with fields that its viewer cannot select."""

    def on_execute(self) -> Iterator[None]:
        execution = self.execution_context
        assert execution.graphql_document is not None
        schema = cast("FlowRunsSchema", execution.schema)._schema  # noqa: SLF001 - Strawberry has no public name for it
        visibility.check(schema, execution.graphql_document, execution.context.viewer, execution.variables)
        yield


class KeptDocuments(SchemaExtension):
    """Takes the document of an operation, and the errors of its validation, from those that are kept."""

    def on_parse(self) -> Iterator[None]:
        execution = self.execution_context
        assert execution.query is not None
        execution.graphql_document = cast("FlowRunsSchema", execution.schema).documents.parse(execution.query)
        yield

    def on_validate(self) -> Iterator[None]:
        execution = self.execution_context
        assert execution.query is not None
        documents = cast("FlowRunsSchema", execution.schema).documents
        execution.pre_execution_errors = documents.validate(execution.query, execution.validation_rules)
        yield


@cache
def build_schema() -> FlowRunsSchema:
    """Returns the schema of the service. All requests share it."""
    return FlowRunsSchema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        extensions=[
            NamedOperation,
            Visibility,
            QueryLimits,  # the last one: what is refused has a price of its own
            lambda: AddValidationRules([RepeatedNames]),
            KeptDocuments,
        ],
        execution_context_class=FlowRunsExecutor,
        exception_handlers=ERROR_MAPPINGS,
        config=StrawberryConfig(scalar_map=SCALARS),
    )


def sdl() -> str:
    """Returns the schema in GraphQL's schema definition language: the content of schema.graphql."""
    return build_schema().as_str() + "\n"
