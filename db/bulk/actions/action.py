"""The interface of bulk actions."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, FromClause, Select, func, select

from db.bulk.outcomes import IN_CHUNK, OUTCOMES, PENDING, Chunk
from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun
from db.models.types import table
from db.row_types import RunRow
from domain.bulk import ELIGIBLE, BulkKind, BulkReason, BulkResult
from domain.enums import RetryStrategy

RUNS = table(FlowRun)
_outcome = OUTCOMES.c


class BulkAction(ABC):
    """The effect of bulk operations of one kind on a run. Has no state, so one instance serves all operations."""

    kind: ClassVar[BulkKind]
    takes_over: ClassVar[tuple[BulkKind, BulkResult] | None] = None
    """The kind of an earlier operation, and an outcome there, whose runs this kind can select instead of a filter.
    None: the kind needs a filter."""
    source: ClassVar[FromClause] = RUNS
    """The runs, joined with the tables that `refusal` reads."""
    columns: ClassVar[Sequence[ColumnElement[Any]]] = (RUNS.c.id,)
    """The columns of `source` that `apply` reads. Must include the run's ID."""
    judges_by_other_runs: ClassVar[bool] = False
    """True if `refusal` reads other runs than the one it judges."""
    strategy: RetryStrategy | None = None
    """Strategy of retries; None for other kinds. An operation's action is the one of its kind and strategy."""

    @abstractmethod
    def refusal(self) -> ColumnElement[str | None]:
        """Returns SQL for the `BulkReason` to skip a row of `source`; null when the action applies to the row.

        The parameter `source_id` is the ID of the earlier operation, or null.
        """

    def lock_related(self, uow: UnitOfWork, chunk: Chunk) -> None:
        """Locks the families and the runs that the action changes besides the runs of the chunk.

        It is called before the runs of the chunk are locked: the order is that of `db.runs.families`. The default locks
        none.
        """
        return

    @abstractmethod
    def apply(self, uow: UnitOfWork, chunk: Chunk, runs: Sequence[RunRow]) -> None:
        """Changes `runs`, which are one or more locked rows of the chunk, and records the outcome of each."""

    def can_pipeline(self, conn: Connection, chunk: Chunk) -> bool:
        """Returns True if the chunk can be pipelined with the previous one, because they take no common lock.

        It is called before anything is locked. The default is True: an action that locks other rows than the runs of
        its own chunk must override this.
        """
        return True

    def is_alone(self, conn: Connection, chunk: Chunk) -> bool:
        """Returns True if `can_pipeline` is still true, now that the runs of the chunk are locked."""
        return True

    def covered(self, conn: Connection, chunk: Chunk) -> Sequence[UUID]:
        """Returns the pending runs of the chunk that need no change, because the change of their parents includes them.

        It is called after the refused runs have been recorded. By default there are none.
        """
        return ()

    def plan_covered(self, conn: Connection, chunk: Chunk) -> None:
        """Records in a dry run which runs of the chunk are covered by their parents. By default there are none."""
        return

    @cached_property
    def lock_statement(self) -> Select[Any]:
        """Returns the statement that locks the pending runs of a chunk and reads the `columns` and the `refusal` of
        each.

        Rows are locked in the order of `db.runs.families`. The refusal is computed from the locked row, but from other
        rows as they are when the statement begins: with `judges_by_other_runs`, lock the runs before.
        """
        runs = select(*self.columns, self.refusal().label("refusal"))
        runs = runs.select_from(OUTCOMES.join(self.source, RUNS.c.id == _outcome.run_id)).where(IN_CHUNK, PENDING)
        return runs.order_by(RUNS.c.depth, RUNS.c.id).with_for_update(key_share=True, of=RUNS)

    @cached_property
    def planned_reason(self) -> ColumnElement[str]:
        """Returns SQL for the finding of a dry run: ELIGIBLE, or the reason to skip the run."""
        # A correlated subquery: SQLite would evaluate a joined one again for each row.
        judged = select(func.coalesce(self.refusal(), ELIGIBLE)).select_from(self.source)
        judged = judged.where(RUNS.c.id == _outcome.run_id).correlate(OUTCOMES)
        return func.coalesce(judged.scalar_subquery(), BulkReason.RUN_NOT_FOUND.value)
