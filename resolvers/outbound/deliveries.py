"""The log of deliveries, and redelivery."""

from dataclasses import replace
from uuid import UUID

from db import audit_events
from db.core.unit_of_work import UnitOfWork
from db.deliveries import log
from db.deliveries.log import DeliveryFilter
from db.outbound_row_types import DeliveryRow
from domain.actor import Origin
from domain.audit import AuditAction
from domain.enums import Role
from domain.errors import DeliveryNotEndedError, DeliveryNotFoundError
from domain.ids import IdKind
from domain.outbound.delivery import DeliveryStatus
from domain.time import clock
from resolvers import authorize
from resolvers.context import Context
from resolvers.lists import RowList
from resolvers.outbound import endpoints, reads

REDELIVERY_BATCH = 1_000
"""Deliveries that one transaction makes due again."""
NO_BOUND = UUID(int=2**128 - 1)
"""Above all IDs."""
_ORDERING = 213
"""The number by which a cursor names the order of deliveries."""


def list_of(context: Context, where: DeliveryFilter) -> RowList:
    """Returns the deliveries that match a filter and that the viewer sees, newest first.

    Raises:
        ForbiddenError: the viewer is no ADMIN.
    """
    authorize.require(context.viewer, Role.ADMIN)
    visible = authorize.visible_projects(context.viewer, where.project_ids)
    return RowList(context.database, log.LISTING, replace(where, project_ids=visible), _ORDERING)


async def get(context: Context, delivery_id: str, columns: frozenset[str]) -> DeliveryRow | None:
    """Returns the delivery `delivery_id`; None if the viewer is no ADMIN or sees no such delivery.

    Raises:
        InvalidIdError: `delivery_id` is not the ID of a delivery.
    """
    return await reads.get(context, IdKind.DELIVERY, delivery_id, log.by_ids, columns)


async def redeliver(context: Context, delivery_id: str) -> UUID:
    """Makes a delivery due again; returns its key.

    Raises:
        InvalidIdError, DeliveryNotFoundError.
        DeliveryNotEndedError: it is pending, or was cancelled.
    """
    delivery = await get(context, delivery_id, frozenset({"status"}))
    if delivery is None:
        raise DeliveryNotFoundError
    await context.database.write(_redeliver, context.origin, delivery)
    return delivery.id


def _redeliver(uow: UnitOfWork, origin: Origin, delivery: DeliveryRow) -> None:
    if not log.redeliver(uow, DeliveryFilter(ids=[delivery.id]), NO_BOUND, clock.now(), 1):
        raise DeliveryNotEndedError
    audit_events.record(uow, origin, AuditAction.REDELIVER, IdKind.DELIVERY, delivery.id, delivery.project_id)


async def redeliver_all(context: Context, endpoint_id: str, where: DeliveryFilter) -> int:
    """Makes the deliveries to an endpoint that match a filter due again; returns their number.

    By default those that FAILED. What is pending or was cancelled stays as it is.

    Raises:
        InvalidIdError, EndpointNotFoundError.
    """
    endpoint = await endpoints.existing(context, endpoint_id)
    statuses = [DeliveryStatus.FAILED] if where.statuses is None else where.statuses
    scoped = replace(where, project_ids=[endpoint.project_id], endpoint_ids=[endpoint.id], statuses=statuses)
    before: UUID | None = NO_BOUND
    total = 0
    while before is not None:
        total, before = await context.database.write(
            _redeliver_some, context.origin, endpoint.id, scoped, before, total
        )
    return total


def _redeliver_some(
    uow: UnitOfWork, origin: Origin, endpoint_id: UUID, where: DeliveryFilter, before: UUID, total: int
) -> tuple[int, UUID | None]:
    """Makes a batch of deliveries due again; the last one leaves the audit event. Returns the number so far, and where
    the next batch begins, if there is one."""
    found = log.redeliver(uow, where, before, clock.now(), REDELIVERY_BATCH)
    total += len(found)
    if len(found) == REDELIVERY_BATCH:
        return total, found[-1]
    assert where.project_ids is not None  # set by the caller
    details = {"deliveries": total, "statuses": where.statuses}
    audit_events.record(
        uow, origin, AuditAction.REDELIVER_ALL, IdKind.ENDPOINT, endpoint_id, where.project_ids[0], details=details
    )
    return total, None
