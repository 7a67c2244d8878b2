"""The filter of input requests: the same for the inbox and for the stream of its changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain.enums import InputRequestStatus
from domain.time import iso_duration


@dataclass(frozen=True, slots=True)
class AskedRequest:
    """The fields of an input request that the filter reads, except its status."""

    id: UUID
    run_id: UUID
    flow_id: UUID
    project_id: UUID
    assignee: str | None
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRequestFilter:
    """A filter of input requests. Fields are ANDed; a field that is None restricts nothing, an empty list matches none.

    Durations are in ISO 8601. They are measured from the instant of the client's request, or in a stream from the
    instant of the event.
    """

    project_ids: Sequence[UUID] | None = None
    ids: Sequence[UUID] | None = None
    run_ids: Sequence[UUID] | None = None
    flow_ids: Sequence[UUID] | None = None
    statuses: Sequence[InputRequestStatus] | None = None
    assignees: Sequence[str] | None = None
    unassigned: bool | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    created_within: str | None = None
    older_than: str | None = None
    expires_after: datetime | None = None
    expires_before: datetime | None = None
    expires_within: str | None = None

    def created_from(self, now: datetime) -> datetime | None:
        """Returns the earliest creation time that matches."""
        within = None if self.created_within is None else iso_duration.parse(self.created_within).before(now)
        return max((bound for bound in (self.created_after, within) if bound is not None), default=None)

    def created_until(self, now: datetime) -> datetime | None:
        """Returns the instant before which a request must have been created."""
        older = None if self.older_than is None else iso_duration.parse(self.older_than).before(now)
        return min((bound for bound in (self.created_before, older) if bound is not None), default=None)

    def expires_until(self, now: datetime) -> datetime | None:
        """Returns the instant before which a request must expire."""
        within = None if self.expires_within is None else _end(self.expires_within, now)
        return min((bound for bound in (self.expires_before, within) if bound is not None), default=None)

    def expires_from(self, now: datetime) -> datetime | None:
        """Returns the earliest expiry that matches. With `expires_within`, that is `now`."""
        within = None if self.expires_within is None else now
        return max((bound for bound in (self.expires_after, within) if bound is not None), default=None)

    def matches(self, request: AskedRequest, status: str, now: datetime) -> bool:
        """True if a request with this status matches."""
        lists: tuple[tuple[Sequence[object] | None, object], ...] = (
            (self.project_ids, request.project_id),
            (self.ids, request.id),
            (self.run_ids, request.run_id),
            (self.flow_ids, request.flow_id),
            (self.statuses, status),
            (self.assignees, request.assignee),
        )
        if any(values is not None and value not in values for values, value in lists):
            return False
        if self.unassigned is not None and self.unassigned is not (request.assignee is None):
            return False
        created, expires = request.created_at, request.expires_at
        if not _is_within(created, self.created_from(now), self.created_until(now)):
            return False
        earliest, latest = self.expires_from(now), self.expires_until(now)
        if earliest is None and latest is None:
            return True
        return expires is not None and _is_within(expires, earliest, latest)


def _end(duration: str, now: datetime) -> datetime | None:
    try:
        return iso_duration.parse(duration).after(now)
    except ValueError:
        # The duration is longer than the calendar, so it restricts nothing.
        return None


def _is_within(instant: datetime, earliest: datetime | None, before: datetime | None) -> bool:
    return (earliest is None or earliest <= instant) and (before is None or instant < before)
