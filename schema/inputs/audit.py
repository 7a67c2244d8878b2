"""The filter of audit events."""

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

import strawberry

from domain import audit, ids
from domain.ids import IdKind
from schema.arguments import optional
from schema.enums import AuditAction
from schema.inputs.filters import bounded, checked_texts


@strawberry.input(
    description="A filter of audit events. Fields are ANDed, the values of a list are ORed. A field that is null or "
    "omitted restricts nothing; an empty list matches no event."
)
class AuditEventFilter:
    """A filter of audit events."""

    actions: list[AuditAction] | None = optional("Events of these actions.")
    actor_ids: list[strawberry.ID] | None = optional("Events of these actors, such as API keys.")
    object_ids: list[strawberry.ID] | None = optional(
        "Events about these objects. The ID of a flow also matches events about its versions, schedules and "
        "webhooks, but not about its runs."
    )
    project_ids: list[strawberry.ID] | None = optional("Events in these projects.")
    request_ids: list[str] | None = optional("Events of the requests with these `X-Request-ID`s.")
    created_after: datetime | None = optional("Events at this instant or later.")
    created_before: datetime | None = optional("Events before this instant.")

    def to_domain(self) -> audit.AuditFilter:
        """Returns the domain's filter.

        Raises:
            InvalidIdError: a value is not an ID of the expected type.
            InvalidArgumentError: a list is too long, or a value is malformed.
        """
        return audit.AuditFilter(
            project_ids=_each("projectIds", self.project_ids, lambda text: ids.decode(IdKind.PROJECT, text)),
            actions=self.actions,
            actor_ids=_each("actorIds", self.actor_ids, lambda text: ids.decode_any(text)[1]),
            object_ids=_each("objectIds", self.object_ids, lambda text: ids.decode_any(text)[1]),
            request_ids=None if self.request_ids is None else checked_texts("requestIds", self.request_ids),
            created_after=self.created_after,
            created_before=self.created_before,
        )


def _each(name: str, texts: Sequence[str] | None, decode: Callable[[str], UUID]) -> list[UUID] | None:
    return None if texts is None else [decode(text) for text in bounded(name, texts)]
