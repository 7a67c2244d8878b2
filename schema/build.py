"""The schema, assembled."""

from pathlib import Path

import strawberry
from graphql import GraphQLError
from strawberry.extensions import ParserCache, ValidationCache
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext

from schema.errors import TELLERS, Told
from schema.limits import QueryLimits
from schema.mutation import Mutation
from schema.query import Query
from schema.scalars import SCALARS
from schema.subscription import Subscription

SDL_FILE = Path(__file__).parent / "schema.graphql"

CACHED_DOCUMENTS = 1_000
"""Documents kept parsed and validated: what applications send comes again and again."""


class FlowRunsSchema(strawberry.Schema):
    """The schema; errors are logged by the extension `Told`, which knows which of them are ours."""

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        return


def build_schema() -> FlowRunsSchema:
    """The schema that clients see."""
    return FlowRunsSchema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        extensions=[
            Told,
            QueryLimits,
            lambda: ParserCache(maxsize=CACHED_DOCUMENTS),
            lambda: ValidationCache(maxsize=CACHED_DOCUMENTS),
        ],
        exception_handlers=TELLERS,
        config=StrawberryConfig(scalar_map=SCALARS),
    )


def sdl() -> str:
    """The schema in GraphQL's definition language, as schema.graphql holds it."""
    return build_schema().as_str() + "\n"
