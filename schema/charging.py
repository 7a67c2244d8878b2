"""Charges operations to the keys that send them, and reports in `extensions.cost` what an operation costs."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
from cross_web import HTTPException
from graphql import GraphQLError
from strawberry.extensions import SchemaExtension

from db.queue.budgets import PERIOD
from domain.errors import FlowRunsError, RateLimitedError
from resolvers.context import Charge, Context
from resolvers.rates.budgets import REFUSED_COST
from schema.cost import MAX_COST, check

COST = "cost"
"""The member of the `extensions` of a request that asks for the cost, and of those of a response that reports it."""


def asks_for_cost(extensions: Mapping[str, Any] | None) -> bool:
    """Returns True if the `extensions` of a request ask for the cost."""
    return extensions is not None and extensions.get(COST) is True


async def charge(context: Context, cost: int) -> Charge:
    """Charges an operation to the key of the context, unless that was done before; returns what it costs.

    Raises:
        QueryTooComplexError, RateLimitedError: the key cannot spend so much.
    """
    if context.charge is not None:
        return context.charge
    viewer, budgets = context.viewer, context.budgets
    limit = None
    if budgets is not None:
        try:
            limit = await budgets.charge(viewer.key_id, viewer.cost_per_minute, cost)
        except RateLimitedError:
            budgets.charge_limited(viewer.key_id, viewer.cost_per_minute, cost)
            raise
    charged = Charge(cost, limit)
    if not context.long_lived:
        context.charge = charged
    return charged


async def admit(context: Context) -> None:
    """Lets the key of the context pay for its refused requests, before a request is read.

    Raises:
        RateLimitedError: the key has nothing left.
    """
    if context.budgets is not None:
        await context.budgets.admit(context.viewer.key_id, context.viewer.cost_per_minute)


def charge_refused(context: Context) -> None:
    """Charges a request that was refused to the key of the context, unless the request was charged before."""
    if context.budgets is not None and context.charge is None:
        context.budgets.charge_refused(context.viewer.key_id, context.viewer.cost_per_minute)
        if not context.long_lived:
            context.charge = Charge(REFUSED_COST, None)


@contextmanager
def refusals_charged(context: Context) -> Iterator[None]:
    """Charges the request of the context if the block refuses it. Refusals by the rate limit have their own price."""
    try:
        yield
    except (FlowRunsError, HTTPException) as error:
        if not isinstance(error, RateLimitedError):
            charge_refused(context)
        raise


def charge_if_refused(context: Context, errors: Sequence[GraphQLError]) -> None:
    """Charges an operation that was not executed, because of `errors`: none of them has a path then."""
    codes = {(error.extensions or {}).get("code") for error in errors}
    if errors and RateLimitedError.code not in codes and all(error.path is None for error in errors):
        charge_refused(context)


def report(context: Context, charged: Charge | None) -> dict[str, Any]:
    """Returns the `extensions` of a response: what the operation costs, if the response is to say so."""
    if charged is None or not context.reports_cost:
        return {}
    limit = charged.rate_limit
    throttle = limit and {
        "maximumAvailable": limit.limit,
        "currentlyAvailable": limit.remaining,
        "restoreRate": limit.limit / PERIOD.total_seconds(),
    }
    return {COST: {"requestedQueryCost": charged.cost, "maxQueryCost": MAX_COST, "throttleStatus": throttle}}


def with_report(body: bytes, extensions: Mapping[str, Any]) -> bytes:
    """Returns the JSON of a response that has no `extensions`, with these."""
    if not extensions:
        return body
    return body.removesuffix(b"}") + b',"extensions":' + orjson.dumps(extensions) + b"}"


class QueryLimits(SchemaExtension):
    """Refuses an operation that exceeds the limits, and charges it to its key, before it is executed."""

    _charge: Charge | None = None

    async def on_execute(self) -> AsyncIterator[None]:
        execution = self.execution_context
        assert execution.graphql_document is not None
        context: Context = execution.context
        context.cost = check(execution.graphql_document, execution.operation_name, execution.variables or {})
        self._charge = await charge(context, context.cost)
        yield

    def get_results(self) -> dict[str, Any]:
        """Returns what the response reports beside the result."""
        return report(self.execution_context.context, self._charge)
