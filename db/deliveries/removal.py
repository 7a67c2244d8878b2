"""What goes with a run or a project: endpoints, deliveries, excerpts of responses, and the URLs of callbacks."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, select, update

from db.alerts import alerts
from db.core.unit_of_work import UnitOfWork
from db.deliveries import endpoints, relay
from db.models import AlertGroup, Delivery, DeliveryAttempt, Endpoint, Notification, RunCallback
from db.models.types import table
from db.sql.any_of import any_of

_deliveries = table(Delivery)
_attempts = table(DeliveryAttempt)
_callbacks = table(RunCallback)
_endpoints = table(Endpoint)
_endpoint = _endpoints.c


def delete_of_runs(uow: UnitOfWork, run_ids: Sequence[UUID]) -> None:
    """Deletes the deliveries and the callbacks of runs. What is being sent cannot be recorded any more."""
    own = select(_deliveries.c.id).where(any_of(_deliveries.c.run_id, run_ids))
    uow.conn.execute(delete(_attempts).where(_attempts.c.delivery_id.in_(own)))
    uow.conn.execute(delete(_deliveries).where(any_of(_deliveries.c.run_id, run_ids)))
    uow.conn.execute(delete(_callbacks).where(any_of(_callbacks.c.run_id, run_ids)))


def stop_of_project(uow: UnitOfWork, project_id: UUID, now: datetime) -> None:
    """Deletes the endpoints and alerts of a project. What was not delivered is cancelled."""
    relay.begin_change(uow)
    alerts.remove_of_project(uow, project_id)
    for endpoint_id in uow.conn.execute(select(_endpoint.id).where(_endpoint.project_id == project_id)).scalars().all():
        endpoints.remove(uow, endpoint_id, now)


def delete_of_project(uow: UnitOfWork, project_id: UUID) -> None:
    """Deletes the endpoints and alerts of a project that has no runs, and the deliveries of tests."""
    alerts.remove_of_project(uow, project_id)
    own = select(_deliveries.c.id).where(_deliveries.c.project_id == project_id)
    uow.conn.execute(delete(_attempts).where(_attempts.c.delivery_id.in_(own)))
    for source in (_deliveries, _callbacks, _endpoints, table(AlertGroup), table(Notification)):
        uow.conn.execute(delete(source).where(source.c.project_id == project_id))


def erase(uow: UnitOfWork, run_ids: Sequence[UUID]) -> None:
    """Deletes what receivers have answered, which may repeat values of the runs, and the URLs of callbacks.

    Callbacks that are pending are cancelled when they are due.
    """
    own = select(_deliveries.c.id).where(any_of(_deliveries.c.run_id, run_ids))
    uow.conn.execute(update(_attempts).where(_attempts.c.delivery_id.in_(own)).values(excerpt=None, message=None))
    uow.conn.execute(delete(_callbacks).where(any_of(_callbacks.c.run_id, run_ids)))
