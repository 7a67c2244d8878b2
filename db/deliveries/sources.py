"""What the bodies of deliveries are rendered from, read when they are sent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, select

from db import flows
from db.deliveries import callbacks
from db.models import Endpoint, RunEvent
from db.models.types import table
from db.outbound_row_types import DeliveryRow, EndpointRow
from db.row_types import FlowRow, InputRequestRow, RunRow
from db.runs import reads as run_reads
from db.runs.waits import inbox
from db.sql.any_of import any_of
from db.sql.rows import fetch_all

RUN_COLUMNS = frozenset(
    {
        "flow_id",
        "status",
        "environment",
        "trigger_method",
        "scheduled_for",
        "created_at",
        "started_at",
        "finished_at",
        "updated_at",
        "archived_at",
        "duration_ms",
        "parent_run_id",
        "root_run_id",
        "retry_of_id",
        "rerun_of_id",
        "recovered_by_id",
        "attempt",
        "failed_step_name",
        "error_code",
        "error_message",
        "error_fingerprint",
        "external_id",
        "source",
        "tags",
        "metadata",
        "input",
        "output",
    }
)
"""The columns of runs in bodies."""
_REQUEST_COLUMNS = frozenset({"step_name", "status", "title", "created_at", "expires_at", "answered_at"})
_endpoints = table(Endpoint)
_event = table(RunEvent).c


@dataclass(frozen=True, slots=True)
class Sources:
    """The rows that deliveries refer to, by their IDs. What was deleted is missing."""

    endpoints: Mapping[UUID, EndpointRow]
    runs: Mapping[UUID, RunRow]
    flows: Mapping[UUID, FlowRow]
    requests: Mapping[UUID, InputRequestRow]
    messages: Mapping[int, str]
    """The messages of status changes, by log position."""
    callbacks: Mapping[UUID, tuple[str, str]]
    """By run: the key that encrypted the URL, and the encrypted URL."""

    def has_all_of(self, delivery: DeliveryRow) -> bool:
        """True if neither the run of a delivery nor its callback was removed."""
        has_run = delivery.run_id is None or delivery.run_id in self.runs
        return has_run and (delivery.callback_run_id is None or delivery.callback_run_id in self.callbacks)


def load(conn: Connection, deliveries: Sequence[DeliveryRow]) -> Sources:
    """Returns the rows that deliveries refer to."""
    endpoint_ids = sorted({delivery.endpoint_id for delivery in deliveries})
    found: Sequence[EndpointRow] = fetch_all(conn, select(_endpoints).where(any_of(_endpoints.c.id, endpoint_ids)))
    run_ids = sorted({delivery.run_id for delivery in deliveries if delivery.run_id})
    runs = run_reads.by_ids(conn, run_ids, RUN_COLUMNS) if run_ids else {}
    flow_ids = sorted({run.flow_id for run in runs.values()})
    request_ids = sorted({delivery.request_id for delivery in deliveries if delivery.request_id})
    positions = sorted({delivery.event_seq for delivery in deliveries if delivery.event_seq})
    messages = select(_event.seq, _event.message).where(_event.seq.in_(positions), _event.message.is_not(None))
    called = {delivery.callback_run_id for delivery in deliveries if delivery.callback_run_id}
    return Sources(
        endpoints={row.id: row for row in found},
        runs=runs,
        flows=flows.by_ids(conn, flow_ids, {"name"}) if flow_ids else {},
        requests=inbox.by_ids(conn, request_ids, _REQUEST_COLUMNS) if request_ids else {},
        messages={row.seq: row.message for row in conn.execute(messages)} if positions else {},
        callbacks=callbacks.by_runs(conn, called) if called else {},
    )
