"""What deliveries have of runs that are erased or deleted: excerpts of responses, and the URLs of callbacks."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import delete, select, update

from db.core.unit_of_work import UnitOfWork
from db.models import Delivery, DeliveryAttempt, RunCallback
from db.models.types import table
from db.sql.any_of import any_of

_deliveries = table(Delivery)
_attempts = table(DeliveryAttempt)
_callbacks = table(RunCallback)


def delete_of_runs(uow: UnitOfWork, run_ids: Sequence[UUID]) -> None:
    """Deletes the deliveries and the callbacks of runs. What is being sent cannot be recorded any more."""
    own = select(_deliveries.c.id).where(any_of(_deliveries.c.run_id, run_ids))
    uow.conn.execute(delete(_attempts).where(_attempts.c.delivery_id.in_(own)))
    uow.conn.execute(delete(_deliveries).where(any_of(_deliveries.c.run_id, run_ids)))
    uow.conn.execute(delete(_callbacks).where(any_of(_callbacks.c.run_id, run_ids)))


def erase(uow: UnitOfWork, run_ids: Sequence[UUID]) -> None:
    """Deletes what receivers have answered, which may repeat values of the runs, and the URLs of callbacks.

    Callbacks that are pending are cancelled when they are due.
    """
    own = select(_deliveries.c.id).where(any_of(_deliveries.c.run_id, run_ids))
    shown = (_attempts.c.delivery_id.in_(own), _attempts.c.excerpt.is_not(None))
    uow.conn.execute(update(_attempts).where(*shown).values(excerpt=None))
    uow.conn.execute(delete(_callbacks).where(any_of(_callbacks.c.run_id, run_ids)))
