"""What the retention of runs would take now: the dry run of its settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from db.core.database import Database
from db.removal import expiry
from domain.enums import RunStatus
from resolvers import limits


@dataclass(frozen=True, slots=True)
class ExpiredRuns:
    """Runs that retention would take now."""

    to_delete: Mapping[RunStatus, int]
    """Number of runs by status, of the statuses with a retention."""
    to_archive: int
    """Number of runs."""


async def expired_runs(
    database: Database, project_id: UUID, retention: Mapping[RunStatus, int], archive_days: int | None
) -> ExpiredRuns:
    """Returns what would be deleted and archived if a project had these settings.

    Raises:
        InvalidArgumentError: a status or a number of days is not allowed.
    """
    limits.check_retention(retention, archive_days)
    to_delete = await database.read(expiry.count_expired, project_id, retention)
    to_archive = await database.read(expiry.count_old, project_id, archive_days) if archive_days is not None else 0
    return ExpiredRuns(to_delete, to_archive)
