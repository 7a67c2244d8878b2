"""The filter of input requests."""

from datetime import datetime
from uuid import UUID

import strawberry

from domain.errors import InvalidArgumentError
from domain.ids import IdKind
from domain.runs import input_request_filter
from domain.time import iso_duration
from schema.arguments import optional
from schema.enums import InputRequestStatus
from schema.inputs.filters import checked_texts, decode_ids

_DURATION = "a duration in ISO 8601, such as `PT15M` or `P1D`"


@strawberry.input(
    description="A filter of input requests. Fields are ANDed. A field that is null, omitted or an empty text "
    "restricts nothing; an empty list matches no request."
)
class InputRequestFilter:
    """A filter of input requests."""

    project_ids: list[strawberry.ID] | None = optional(
        "Requests of these projects. Only for operator keys. Ignored for all other keys, which always see their own"
        " project."
    )
    ids: list[strawberry.ID] | None = optional("Requests with one of these IDs.")
    run_ids: list[strawberry.ID] | None = optional("Requests of one of these runs.")
    flow_ids: list[strawberry.ID] | None = optional("Requests of runs of one of these flows.")
    statuses: list[InputRequestStatus] | None = optional("Requests that have one of these statuses.")
    assignees: list[str] | None = optional("Requests to one of these persons or groups (exact match).")
    unassigned: bool | None = optional("If true, only requests without an assignee; if false, only requests with one.")
    created_after: datetime | None = optional("Requests created at or after this instant.")
    created_before: datetime | None = optional("Requests created before this instant.")
    created_within: str | None = optional(f"Requests created within this time before now: {_DURATION}.")
    older_than: str | None = optional(f"Requests created earlier than this time before now: {_DURATION}.")
    expires_after: datetime | None = optional("Requests that expire at or after this instant.")
    expires_before: datetime | None = optional("Requests that expire, or have expired, before this instant.")
    expires_within: str | None = optional(
        f"Requests that expire within this time from now: {_DURATION}. Requests that do not expire match no "
        "condition on their expiry."
    )

    def to_domain(self) -> input_request_filter.InputRequestFilter:
        """Returns the filter with its IDs decoded.

        Raises:
            InvalidIdError: a value is not an ID of the expected type.
            InvalidArgumentError: a list is too long, or a value is malformed.
        """
        return input_request_filter.InputRequestFilter(
            project_ids=_decoded(IdKind.PROJECT, "projectIds", self.project_ids),
            ids=_decoded(IdKind.INPUT_REQUEST, "ids", self.ids),
            run_ids=_decoded(IdKind.RUN, "runIds", self.run_ids),
            flow_ids=_decoded(IdKind.FLOW, "flowIds", self.flow_ids),
            statuses=None if self.statuses is None else tuple(self.statuses),
            assignees=_texts("assignees", self.assignees),
            unassigned=self.unassigned,
            created_after=self.created_after,
            created_before=self.created_before,
            created_within=_duration("createdWithin", self.created_within),
            older_than=_duration("olderThan", self.older_than),
            expires_after=self.expires_after,
            expires_before=self.expires_before,
            expires_within=_duration("expiresWithin", self.expires_within),
        )


def _decoded(kind: IdKind, name: str, texts: list[strawberry.ID] | None) -> tuple[UUID, ...] | None:
    return None if texts is None else tuple(decode_ids(kind, name, texts))


def _texts(name: str, texts: list[str] | None) -> tuple[str, ...] | None:
    return None if texts is None else tuple(checked_texts(name, texts))


def _duration(name: str, text: str | None) -> str | None:
    if not text:
        return None
    try:
        iso_duration.parse(text)
    except ValueError as error:
        raise InvalidArgumentError(f"`{name}` {error}.") from None
    return text
