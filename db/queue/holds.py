"""Holds of starts, and the drain.

While a flow or a project is held, its runs are created as always and do not start: retries, child runs, and those of
schedules and webhooks too. A claim that meets one moves it to the queue of the hold (`db.queue.slots`), where its
`blocked_by` is the hold. When the hold is released, they are due again, at their old positions. Runs that have started
go on.

The drain keeps workers from taking any run. It is one row, which they look at before they claim.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, delete, exists, func, insert, select, update

from db.core import pubsub
from db.core.unit_of_work import UnitOfWork
from db.models import Flow, FlowRun, Project, StartHold
from db.models.types import table
from db.queue import slots
from db.row_types import StartHoldRow
from db.sql.insert_if_missing import InsertIfMissing
from db.sql.rows import fetch_all, fetch_first, select_columns
from domain import ids
from domain.actor import Actor
from domain.time import clock

_table = table(StartHold)
_hold = _table.c
_flows = table(Flow)
_projects = table(Project)
_run = table(FlowRun).c

DRAIN = UUID(int=0)
"""The ID of the drain."""
_INSERT = InsertIfMissing(_table)
_IS_DRAINED = select(exists().where(_hold.id == DRAIN))


def hold(
    uow: UnitOfWork, project_id: UUID, flow_id: UUID | None, reason: str | None, actor: Actor
) -> StartHoldRow | None:
    """Holds a flow, or without `flow_id` the project. Returns the hold that was there before, which gets the reason."""
    before = _current(uow, project_id, flow_id)
    if before is not None:
        uow.conn.execute(update(_table).where(_hold.id == before.id).values(reason=reason))
        return before
    hold_id = ids.new_uuid()
    row = {"id": hold_id, "project_id": project_id, "flow_id": flow_id, **_made(reason, actor)}
    uow.conn.execute(insert(_table).values(row))
    _set(uow, project_id, flow_id, hold_id)
    return None


def release(uow: UnitOfWork, project_id: UUID, flow_id: UUID | None) -> StartHoldRow | None:
    """Ends the hold of a flow or a project; returns it, or None if there was none.

    `release_queue` makes its runs due.
    """
    before = _current(uow, project_id, flow_id)
    if before is not None:
        _set(uow, project_id, flow_id, None)
    return before


def release_queue(uow: UnitOfWork, hold_id: UUID) -> bool:
    """Makes runs of a hold that has ended due, a thousand at most; returns False when there are none left."""
    if slots.release_held(uow, hold_id):
        return True
    # Runs that another transaction has locked were left out: they are rescued.
    if not uow.conn.execute(select(exists().where(_run.blocked_by == hold_id))).scalar():
        uow.conn.execute(delete(_table).where(_hold.id == hold_id))
    return False


def ended(conn: Connection) -> Sequence[UUID]:
    """Returns the holds that have ended, and whose runs may not be due yet."""
    named = [exists().where(source.c.hold_id == _hold.id) for source in (_flows, _projects)]
    return conn.execute(select(_hold.id).where(_hold.id != DRAIN, *(~each for each in named))).scalars().all()


def _current(uow: UnitOfWork, project_id: UUID, flow_id: UUID | None) -> StartHoldRow | None:
    """Returns the hold of a flow or a project. No run starts or stops waiting until the end of the transaction."""
    slots.lock(uow.conn, [project_id])
    source = _projects if flow_id is None else _flows
    named = select(source.c.hold_id).where(source.c.id == (flow_id or project_id)).with_for_update(key_share=True)
    hold_id = uow.conn.execute(named).scalar()
    if hold_id is None:
        return None
    row: StartHoldRow | None = fetch_first(uow.conn, select(_table).where(_hold.id == hold_id))
    return row


def _set(uow: UnitOfWork, project_id: UUID, flow_id: UUID | None, hold_id: UUID | None) -> None:
    source = _projects if flow_id is None else _flows
    uow.conn.execute(update(source).where(source.c.id == (flow_id or project_id)).values(hold_id=hold_id))


def by_ids(conn: Connection, keys: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, StartHoldRow]:
    """Returns the holds `keys`, with `id`."""
    query = select(*select_columns(_table, columns)).where(_hold.id.in_(keys))
    return {row.id: row for row in fetch_all(conn, query)}


def drain(uow: UnitOfWork, reason: str | None, actor: Actor) -> bool:
    """Keeps workers from taking runs. Returns False if they did not take any before."""
    return _INSERT.execute(uow.conn, {"id": DRAIN, **_made(reason, actor)})


def undrain(uow: UnitOfWork) -> bool:
    """Lets workers take runs again. Returns False if they did."""
    uow.publish_after_commit(pubsub.RUNS_DUE)
    return uow.conn.execute(delete(_table).where(_hold.id == DRAIN)).rowcount == 1


def is_drained(conn: Connection) -> bool:
    """Returns True if workers must not take runs."""
    return bool(conn.execute(_IS_DRAINED).scalar())


def drained_since(conn: Connection) -> datetime | None:
    """Returns the beginning of the drain; None if there is none."""
    return conn.execute(select(_hold.held_at).where(_hold.id == DRAIN)).scalar()


def executing(conn: Connection) -> int:
    """Returns the number of runs that workers have now."""
    query = select(func.count()).where(_run.due_at > clock.now(), _run.lease_token.is_not(None))
    return conn.execute(query).scalar_one()


def _made(reason: str | None, actor: Actor) -> dict[str, object]:
    return {"reason": reason, "held_by": actor.text, "held_at": clock.now()}
