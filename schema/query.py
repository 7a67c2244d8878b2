"""The root of queries."""

import asyncio
from typing import Annotated

import strawberry

from domain import ids
from domain.errors import InvalidArgumentError, InvalidIdError
from domain.ids import IdKind
from live.stats_feed import Statistics
from resolvers import bulk, flows, inbox, projects, secrets
from resolvers.access import api_keys, audit
from resolvers.console import saved_views
from resolvers.context import Context
from resolvers.flow_runs import files, runs
from resolvers.flow_runs.runs import RunList
from resolvers.lists import TextRowList
from resolvers.outbound import alerts, deliveries, endpoints
from resolvers.queue import workers
from resolvers.triggers import schedules, webhooks
from schema.fields import Info, columns_of, field
from schema.inputs.audit import AuditEventFilter
from schema.inputs.filters import FlowFilter, FlowRunFilter, FlowRunOrder
from schema.inputs.schedules import ScheduleFilter
from schema.queries.comparison import ComparisonQuery
from schema.queries.definitions import DefinitionQuery
from schema.queries.inbox import InboxQuery
from schema.queries.outbound import OutboundQuery
from schema.queries.pickers import PickersQuery
from schema.queries.queue import QueueQuery
from schema.queries.saved_views import SavedViewsQuery
from schema.queries.service import ServiceQuery
from schema.relay.connection import After, Before, Connection, First, Last, PageArguments, connect
from schema.relay.node import Node
from schema.types.api_key import ApiKey
from schema.types.audit import AuditEvent
from schema.types.bulk_operation import BulkOperation
from schema.types.console.saved_view import SavedView
from schema.types.flow import Flow, FlowVersion, Schedule, Webhook
from schema.types.flow_run import FlowRun
from schema.types.input_request import InputRequest
from schema.types.outbound.alert import Alert, Notification
from schema.types.outbound.endpoint import Delivery, Endpoint
from schema.types.project import Project, Viewer
from schema.types.queue.worker import Worker
from schema.types.runs.run_file import RunFile
from schema.types.secret import Secret
from schema.types.stats import FlowRunStats

MAX_NODES = 1_000
"""Largest number of IDs in one call of `nodes`."""

Id = Annotated[strawberry.ID, strawberry.argument(description="The ID.")]
Ids = Annotated[list[strawberry.ID], strawberry.argument(description=f"The IDs, at most {MAX_NODES}.")]
FlowsFilter = Annotated[
    FlowFilter | None, strawberry.argument(description="The flows to return. Default: all that the key can see.")
]
SchedulesFilter = Annotated[
    ScheduleFilter | None,
    strawberry.argument(description="The schedules to return. Default: all that the key can see."),
]
RunsFilter = Annotated[
    FlowRunFilter | None,
    strawberry.argument(description="The runs to return. Default: all that the key can see and that are not archived."),
]
Active = Annotated[
    bool | None,
    strawberry.argument(
        description="True: only keys that are neither revoked nor expired; false: only revoked or expired keys. "
        "Default: all."
    ),
]
EventsFilter = Annotated[
    AuditEventFilter | None, strawberry.argument(description="The events to return. Default: all that the key can see.")
]
OrderBy = Annotated[FlowRunOrder | None, strawberry.argument(description="The order. Default: the newest first.")]


@strawberry.type(description="The reads.")
class Query(
    InboxQuery,
    ComparisonQuery,
    DefinitionQuery,
    OutboundQuery,
    PickersQuery,
    QueueQuery,
    SavedViewsQuery,
    ServiceQuery,
):
    """The root of queries."""

    @field("The object with this ID; null if the key can see no such object.")
    async def node(self, info: Info, id: Id) -> Node | None:  # noqa: A002
        return await _node(info, id)

    @field("The objects with these IDs, in the order of the IDs; null for each object that the key cannot see.")
    async def nodes(self, info: Info, ids: Ids) -> list[Node | None]:
        if len(ids) > MAX_NODES:
            raise InvalidArgumentError(f"`ids` can have at most {MAX_NODES:,} values, got {len(ids):,}.")
        return await asyncio.gather(*(_node(info, text) for text in ids))

    @field("The API key of the request.")
    def viewer(self, info: Info) -> Viewer:
        return Viewer(key=info.context.viewer)

    @field("The flow with this ID; null if the key can see no such flow.")
    async def flow(self, info: Info, id: Id) -> Flow | None:  # noqa: A002
        row = await flows.get(info.context, id, columns_of(info, Flow))
        return Flow(row=row) if row else None

    @field("Flows, newest first.")
    async def flows(
        self,
        info: Info,
        filter: FlowsFilter = None,  # noqa: A002
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[Flow]:
        return await connect(info, Flow, flow_list(info.context, filter), PageArguments(first, after, last, before))

    @field("The run with this ID, archived or not; null if the key can see no such run.")
    async def flow_run(self, info: Info, id: Id) -> FlowRun | None:  # noqa: A002
        row = await runs.get(info.context, id, columns_of(info, FlowRun))
        return FlowRun(row=row) if row else None

    @field("Runs. Default order: the newest first. Archived runs are left out unless the filter includes them.")
    async def flow_runs(
        self,
        info: Info,
        filter: RunsFilter = None,  # noqa: A002
        order_by: OrderBy = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[FlowRun]:
        source = run_list(info.context, filter, order_by)
        return await connect(info, FlowRun, source, PageArguments(first, after, last, before))

    @field("Statistics over runs. Archived runs are left out unless the filter includes them.")
    def flow_run_stats(self, info: Info, filter: RunsFilter = None) -> FlowRunStats:  # noqa: A002
        where = runs.scoped(info.context, (filter or FlowRunFilter()).to_domain())
        return FlowRunStats(statistics=Statistics(info.context.database, where))

    @field("The schedules of all flows that the key can see, newest first.")
    async def schedules(
        self,
        info: Info,
        filter: SchedulesFilter = None,  # noqa: A002
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[Schedule]:
        source = schedules.list_of(info.context, (filter or ScheduleFilter()).to_domain())
        return await connect(info, Schedule, source, PageArguments(first, after, last, before))

    @field("The projects that the key can see, newest first: all projects for operator keys, else the key's own.")
    async def projects(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[Project]:
        source = projects.list_of(info.context)
        return await connect(info, Project, source, PageArguments(first, after, last, before))

    @field("The secrets of a project, oldest first. Their values cannot be read.")
    async def secrets(
        self,
        info: Info,
        project_id: Annotated[
            strawberry.ID | None,
            strawberry.argument(description="Required for operator keys. Default: the key's project."),
        ] = None,
    ) -> list[Secret]:
        rows = await secrets.of_project(info.context, project_id, columns_of(info, Secret))
        return [Secret(row=row) for row in rows]

    @field("The bulk operation or plan with this ID; null if the key can see no such operation.")
    async def bulk_operation(self, info: Info, id: Id) -> BulkOperation | None:  # noqa: A002
        row = await bulk.get(info.context, id, columns_of(info, BulkOperation))
        return BulkOperation(row=row) if row else None

    @field("Bulk operations that were started, newest first, and plans with `withPlans`.")
    async def bulk_operations(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        include_plans: Annotated[
            bool,
            strawberry.argument(
                description="True: also returns the plans of dry runs that can still be executed. "
                "`cancelBulkOperation` removes a plan. Default: no plans."
            ),
        ] = False,
    ) -> Connection[BulkOperation]:
        source = bulk.list_of(info.context, with_plans=include_plans)
        return await connect(info, BulkOperation, source, PageArguments(first, after, last, before))

    @field("API keys, newest first: those of the key's project; for operator keys all. Requires the role ADMIN.")
    async def api_keys(
        self,
        info: Info,
        active: Active = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[ApiKey]:
        source = api_keys.list_of(info.context, active)
        return await connect(info, ApiKey, source, PageArguments(first, after, last, before))

    @field("The audit log, newest first: who changed what. Requires the role ADMIN.")
    async def audit_events(
        self,
        info: Info,
        filter: EventsFilter = None,  # noqa: A002
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[AuditEvent]:
        source = audit.list_of(info.context, (filter or AuditEventFilter()).to_domain())
        return await connect(info, AuditEvent, source, PageArguments(first, after, last, before))


def run_list(
    context: Context,
    filter: FlowRunFilter | None = None,  # noqa: A002 - the name of the argument
    order_by: FlowRunOrder | None = None,
) -> RunList:
    """Returns the runs for the arguments of `flowRuns`.

    Raises:
        InvalidIdError, InvalidArgumentError, InputTooLargeError: the filter is invalid.
    """
    where = runs.scoped(context, (filter or FlowRunFilter()).to_domain())
    return RunList(context, where, (order_by or FlowRunOrder()).to_domain())


def flow_list(context: Context, filter: FlowFilter | None = None) -> TextRowList:  # noqa: A002 - the name of the argument
    """Returns the flows for the arguments of `flows`.

    Raises:
        InvalidIdError, InvalidArgumentError: the filter is invalid.
    """
    return flows.list_of(context, (filter or FlowFilter()).to_domain())


async def _node(info: Info, text: str) -> Node | None:
    """Returns the object with the ID `text`; None if the key can see no such object.

    Raises:
        InvalidIdError: `text` is not an ID, or not the ID of a node.
    """
    kind, _ = ids.decode_any(text)
    if kind not in NODES:
        raise InvalidIdError(f"{text!r} is not the ID of a node.")
    node_type, get = NODES[kind]
    row = await get(info.context, text, columns_of(info, node_type))
    return node_type(row=row) if row else None


NODES = {
    IdKind.PROJECT: (Project, projects.get),
    IdKind.FLOW: (Flow, flows.get),
    IdKind.FLOW_VERSION: (FlowVersion, flows.get_version),
    IdKind.RUN: (FlowRun, runs.get),
    IdKind.FILE: (RunFile, files.get),
    IdKind.INPUT_REQUEST: (InputRequest, inbox.get),
    IdKind.SCHEDULE: (Schedule, schedules.get),
    IdKind.BULK_OPERATION: (BulkOperation, bulk.get),
    IdKind.WEBHOOK: (Webhook, webhooks.get),
    IdKind.SECRET: (Secret, secrets.get),
    IdKind.SAVED_VIEW: (SavedView, saved_views.get),
    IdKind.ENDPOINT: (Endpoint, endpoints.get),
    IdKind.DELIVERY: (Delivery, deliveries.get),
    IdKind.ALERT: (Alert, alerts.get),
    IdKind.NOTIFICATION: (Notification, alerts.get_notification),
    IdKind.WORKER: (Worker, workers.get),
}
"""The types of nodes by the kind of their IDs, each with the function that finds an object."""
