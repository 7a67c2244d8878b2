"""A part of a bulk operation: the runs that one transaction deals with."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, select

from db.models import BulkOutcome
from db.models.types import table
from db.rows import AnyRow
from domain.bulk import BulkResult

OUTCOMES = table(BulkOutcome)
_outcome = OUTCOMES.c


@dataclass(frozen=True, slots=True)
class Chunk:
    """The runs of `operation`, a whole row, from behind `after` up to `through`."""

    operation: AnyRow
    after: UUID
    through: UUID
    now: datetime

    @property
    def rows(self) -> ColumnElement[bool]:
        """The condition that the outcomes of the chunk meet."""
        return and_(
            _outcome.operation_id == self.operation.id,
            _outcome.run_id > self.after,
            _outcome.run_id <= self.through,
        )

    @property
    def accepted(self) -> Select[Any]:
        """The IDs of the runs that something is to be done to."""
        return select(_outcome.run_id).where(self.rows, _outcome.result == BulkResult.SUCCEEDED)
