"""The root of subscriptions."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Annotated, Any, TypeVar, cast

import strawberry

from db.rows import AnyRow
from domain import ids, payloads
from domain.ids import IdKind
from resolvers import bulk, runs, subscriptions
from schema.enums import BulkStatus, RunStatus
from schema.fields import Info, columns_of, field
from schema.inputs import FlowRunFilter
from schema.types.bulk_operation import BulkOperation
from schema.types.flow_run import FlowRun, StatusChange

F = TypeVar("F", bound=Callable[..., Any])


@strawberry.type(description="A run changed its status.")
class FlowRunStatusChanged:
    """A run changed its status."""

    row: strawberry.Private[AnyRow]

    cursor: str = strawberry.field(description="Where the change stands in the log: as `after` it goes on from here.")

    @field("The run's ID.")
    def run_id(self) -> strawberry.ID:
        return strawberry.ID(ids.encode(IdKind.RUN, self.row.run_id))

    @field("The status now.")
    def status(self) -> RunStatus:
        return RunStatus(self.row.to_status)

    @field("The change.")
    def change(self) -> StatusChange:
        return StatusChange(row=self.row)

    @field("The run as it is when this is told, which may be further on than the change.")
    async def run(self, info: Info) -> FlowRun:
        row = await runs.by_key(info.context, self.row.run_id, columns_of(info, FlowRun))
        assert row is not None  # runs are never deleted
        return FlowRun(row=row)


@strawberry.type(description="All that was missed has been told; what follows happens from now on.")
class CaughtUp:
    """All that was missed has been told."""

    cursor: str = strawberry.field(description="The end of the log: give it as `after` to go on from here.")


@strawberry.type(description="How far a bulk operation had come.")
class BulkCounts:
    """How far a bulk operation had come."""

    status: BulkStatus = strawberry.field(description="Where it stood.")
    matched: int = strawberry.field(description="How many runs are meant.")
    processed: int = strawberry.field(description="How many had an outcome.")
    succeeded: int = strawberry.field(description="To how many it was done.")
    skipped: int = strawberry.field(description="How many were not eligible.")
    failed: int = strawberry.field(description="For how many something went wrong.")


@strawberry.type(description="A bulk operation began, went on or ended.")
class BulkOperationProgressed:
    """A bulk operation began, went on or ended."""

    row: strawberry.Private[AnyRow]

    cursor: str = strawberry.field(description="Where this stands in the log: as `after` it goes on from here.")

    @field("The operation's ID.")
    def operation_id(self) -> strawberry.ID:
        return strawberry.ID(ids.encode(IdKind.BULK_OPERATION, self.row.operation_id))

    @field("How far it had come.")
    def counts(self) -> BulkCounts:
        told = payloads.decode(self.row.data)
        return BulkCounts(**{**told, "status": BulkStatus(told["status"])})

    @field("The operation as it is when this is told, which may be further on.")
    async def operation(self, info: Info) -> BulkOperation:
        columns = columns_of(info, BulkOperation)
        return BulkOperation(row=await bulk.written(info.context, self.row.operation_id, columns))


FlowRunStatusEvent = Annotated[
    FlowRunStatusChanged | CaughtUp,
    strawberry.union(
        "FlowRunStatusEvent", description="A change, or the mark between what was missed and what happens."
    ),
]


def _subscription(description: str) -> Callable[[F], F]:
    return cast("Callable[[F], F]", strawberry.subscription(description=description))


@strawberry.type(description="Streams.")
class Subscription:
    """The root of subscriptions."""

    @_subscription(
        "Status changes of the runs that the filter means at that moment, in the order of the log. With `after`, first"
        " those since that cursor; then `CaughtUp`, then what happens."
    )
    async def flow_run_status_changed(
        self,
        info: Info,
        filter: Annotated[  # noqa: A002
            FlowRunFilter | None, strawberry.argument(description="Which runs are meant; left out, all.")
        ] = None,
        after: Annotated[
            str | None, strawberry.argument(description="A cursor told before: what came since then comes first.")
        ] = None,
    ) -> AsyncGenerator[FlowRunStatusEvent, None]:
        wanted = runs.scoped(info.context, (filter or FlowRunFilter()).wanted())
        async with aclosing(subscriptions.status_changes(info.context, wanted, after)) as changes:
            async for told in changes:
                if told.change is None:
                    yield CaughtUp(cursor=told.cursor)
                else:
                    yield FlowRunStatusChanged(row=told.change, cursor=told.cursor)

    @_subscription(
        "How a bulk operation goes on: how it stands, then each step, until it has ended. With `after`, what came since"
        " that cursor."
    )
    async def bulk_operation_progressed(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="The operation.")],  # noqa: A002
        after: Annotated[
            str | None, strawberry.argument(description="A cursor told before: what came since then comes first.")
        ] = None,
    ) -> AsyncGenerator[BulkOperationProgressed, None]:
        async with aclosing(subscriptions.bulk_progress(info.context, id, after)) as progress:
            async for told in progress:
                if told.change is not None:
                    yield BulkOperationProgressed(row=told.change, cursor=told.cursor)
