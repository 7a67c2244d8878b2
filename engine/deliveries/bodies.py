"""The bodies of deliveries, in the form of Standard Webhooks: `type`, `timestamp`, `data`.

A body is rendered when it is sent, from the rows as they are then: the delivery itself stores no values of a run, so
that nothing of an erased run is left in it.
"""

from typing import Any
from uuid import UUID

import orjson

from db.deliveries.sources import Sources
from db.outbound_row_types import DeliveryRow, EndpointRow
from db.row_types import InputRequestRow, RunRow
from domain import ids
from domain.ids import IdKind
from domain.outbound.delivery import EVENT_TYPES, EventKind


def render(delivery: DeliveryRow, endpoint: EndpointRow, sources: Sources) -> bytes:
    """Returns the body of a delivery. The run of the delivery must be among the sources."""
    kind = EventKind(delivery.kind)
    data: dict[str, Any] = {"endpointId": ids.encode(IdKind.ENDPOINT, endpoint.id)}
    if delivery.run_id is not None and delivery.event_seq is not None:
        data["sequence"] = delivery.event_seq
        if kind is not EventKind.INPUT_REQUEST_CHANGED:
            data |= {"from": delivery.from_status, "to": delivery.to_status}
        if endpoint.payloads and delivery.event_seq in sources.messages:
            data["message"] = sources.messages[delivery.event_seq]
        data["run"] = _run(sources.runs[delivery.run_id], sources, payloads=endpoint.payloads)
    if delivery.request_id is not None and (request := sources.requests.get(delivery.request_id)) is not None:
        data["inputRequest"] = _request(request, delivery, payloads=endpoint.payloads)
    body = {"type": EVENT_TYPES[kind], "timestamp": delivery.at, "data": data}
    return orjson.dumps(body, option=orjson.OPT_UTC_Z)


def _run(run: RunRow, sources: Sources, *, payloads: bool) -> dict[str, Any]:
    flow = sources.flows.get(run.flow_id)
    values: dict[str, Any] = {
        "id": ids.encode(IdKind.RUN, run.id),
        "projectId": ids.encode(IdKind.PROJECT, run.project_id),
        "flow": {"id": ids.encode(IdKind.FLOW, run.flow_id), "name": flow.name if flow else None},
        "status": run.status,
        "environment": run.environment,
        "triggerMethod": run.trigger_method,
        "scheduledFor": run.scheduled_for,
        "createdAt": run.created_at,
        "startedAt": run.started_at,
        "finishedAt": run.finished_at,
        "updatedAt": run.updated_at,
        "archivedAt": run.archived_at,
        "durationMs": run.duration_ms,
        "attempt": run.attempt,
        "parentRunId": _run_id(run.parent_run_id),
        "rootRunId": _run_id(run.root_run_id),
        "retryOfId": _run_id(run.retry_of_id),
        "rerunOfId": _run_id(run.rerun_of_id),
        "recoveredById": _run_id(run.recovered_by_id),
        "externalId": run.external_id,
        "source": run.source,
        "tags": run.tags,
        "metadata": orjson.Fragment(run.metadata),
        "error": _error(run),
    }
    if payloads:
        values["input"] = orjson.Fragment(run.input)
        values["output"] = orjson.Fragment(run.output) if run.output is not None else None
    return values


def _error(run: RunRow) -> dict[str, Any] | None:
    if run.error_code is None:
        return None
    return {
        "code": run.error_code,
        "message": run.error_message,
        "stepName": run.failed_step_name,
        "fingerprint": run.error_fingerprint,
    }


def _request(request: InputRequestRow, delivery: DeliveryRow, *, payloads: bool) -> dict[str, Any]:
    values: dict[str, Any] = {
        "id": ids.encode(IdKind.INPUT_REQUEST, request.id),
        "stepName": request.step_name,
        "from": delivery.from_status,
        "to": delivery.to_status,
        "createdAt": request.created_at,
        "expiresAt": request.expires_at,
        "answeredAt": request.answered_at,
    }
    return {**values, "title": request.title} if payloads else values


def _run_id(key: UUID | None) -> str | None:
    return ids.encode(IdKind.RUN, key) if key is not None else None
