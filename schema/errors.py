"""The errors of domain in GraphQL: as types in the results of mutations, and at the top level of a response."""

import logging
import secrets
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import strawberry
from graphql import GraphQLError
from strawberry.utils.str_converters import to_camel_case

from db.runs import reads
from domain import errors, problem
from domain.error_declarations import ErrorField, declared, default_message, fields_of
from domain.errors import BadRequestError, FlowRunsError, InternalError
from schema.enums import ErrorCode
from schema.fields import Info, columns_of, field
from schema.types.flow_run import FlowRun

_logger = logging.getLogger(__name__)


@strawberry.interface(
    description="Why a mutation was refused. `... on UserError { code message }` selects every such error."
)
class UserError:
    """The reason why a mutation was refused."""

    error: strawberry.Private[errors.UserError]

    @field("The stable code of the error. Codes never change.", graphql_type=ErrorCode)
    def code(self) -> str:
        return self.error.code

    @field("Human-readable message. Do not parse it: use `code`.")
    def message(self) -> str:
        return self.error.message


@strawberry.type(description="One problem in a document.")
class Problem:
    """One problem in a document."""

    path: str = strawberry.field(
        description="The place in the document, such as `steps[2].input.url`. Empty for the document as a whole."
    )
    message: str = strawberry.field(
        description="Human-readable message with what is wrong or expected at the path. Do not parse it."
    )


def _problems_field(name: str, declared: ErrorField) -> tuple[str, Any]:
    def problems(root: UserError) -> list[Problem]:
        return [Problem(path=each.path, message=each.message) for each in getattr(root.error, name)]

    return name, strawberry.field(problems, description=declared.description)


def _run_field(name: str, declared: ErrorField) -> tuple[str, Any]:
    async def run(root: UserError, info: Info) -> FlowRun:
        columns = columns_of(info, FlowRun)
        return FlowRun(row=await info.context.loaders.load_existing(reads.by_ids, getattr(root.error, name), columns))

    return name.removesuffix("_id"), strawberry.field(run, description=declared.description)


_FIELDS: Mapping[Any, Callable[[str, ErrorField], tuple[str, Any]]] = {
    tuple[problem.Problem, ...]: _problems_field,
    UUID: _run_field,
}
"""For each type of an error's field, the field of its GraphQL type. A UUID identifies a run, which clients can
select."""


def _declare_type(error: type[errors.UserError]) -> type[UserError]:
    name = error.__name__.removesuffix("Error")
    fields = dict(_FIELDS[field.type](name, field) for name, field in fields_of(error).items())
    error_type: type[UserError] = strawberry.type(
        type(name, (UserError,), {"__doc__": error.__doc__, **fields}),
        description=default_message(error),
    )
    return error_type


ERROR_TYPES: Mapping[type, type[UserError]] = {error: _declare_type(error) for error in declared(errors.UserError)}
"""The GraphQL types of the errors that mutations return. Name, description and fields are those of the classes."""


class _ErrorMapping:
    """Turns one kind of error into its GraphQL type, in the results of the mutations that declare it."""

    def __init__(self, exception_type: type[errors.UserError], error_type: type[UserError]) -> None:
        self.exception_type = exception_type
        self.error_type = error_type

    def handle(self, exception: errors.UserError, *, field: object, info: Info) -> UserError:
        return self.error_type(error=exception)


ERROR_MAPPINGS = [_ErrorMapping(error, ERROR_TYPES[error]) for error in declared(errors.UserError)]


def to_client_error(error: GraphQLError) -> GraphQLError:
    """Returns `error` in the form that clients see, with a code. Internal errors are masked: the log has them under a
    correlation ID."""
    cause = error.original_error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    if isinstance(cause, FlowRunsError):
        return _copy(error, cause.message, extensions(cause))
    if cause is None or isinstance(cause, GraphQLError) or (error.path is None and isinstance(cause, ValueError)):
        # The document or its variables are invalid, and graphql-core's message says how. A ValueError comes from a
        # number with too many digits.
        return _copy(error, error.message, {"code": BadRequestError.code})
    internal = InternalError(secrets.token_hex(8))
    _logger.error(
        "internal error", extra={"correlation_id": internal.correlation_id, "path": error.path}, exc_info=cause
    )
    return _copy(error, internal.message, extensions(internal))


def extensions(error: FlowRunsError) -> Mapping[str, Any]:
    """Returns the `extensions` of a top-level error: its code and its fields."""
    # The fields of a UserError are part of its GraphQL type only.
    details = {} if isinstance(error, errors.UserError) else error.details
    return {"code": error.code, **{to_camel_case(name): value for name, value in details.items()}}


def _copy(error: GraphQLError, message: str, extensions: Mapping[str, Any]) -> GraphQLError:
    return GraphQLError(
        message,
        nodes=error.nodes,
        source=error.source,
        positions=error.positions,
        path=error.path,
        extensions=dict(extensions),
    )
