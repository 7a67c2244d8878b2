"""Inputs of endpoints and deliveries."""

from datetime import datetime
from typing import Any

import strawberry

from db.deliveries import log
from domain.errors import InvalidArgumentError
from domain.ids import IdKind
from resolvers.outbound.endpoints import MAX_URL_LENGTH
from schema.arguments import optional
from schema.enums import DeliveryStatus, EventKind
from schema.inputs.filters import FlowRunFilter, decode_ids

_NAME = "A name for people: 1 to 200 characters."
_URL = f"The URL that takes the events, with http or https: at most {MAX_URL_LENGTH:,} characters."
_FILTER = (
    "Which runs: the filter must match after the event. Archived runs are included unless `archived` is given."
    " Default: every run of the project."
)
_KINDS = "The kinds of events to send."
_PAYLOADS = "Whether bodies have inputs, outputs and messages of runs."
_ENABLED = "Whether events are sent. What is pending waits while they are not."


@strawberry.input(description="The endpoint to create.")
class CreateEndpointInput:
    """The endpoint to create."""

    name: str = strawberry.field(description=_NAME)
    url: str | None = optional(
        f"{_URL} Without a URL it is the endpoint of callbacks, of which a project has one: it sends the events of runs"
        " to their `callbackUrl`."
    )
    filter: FlowRunFilter | None = optional(_FILTER)
    kinds: list[EventKind] = strawberry.field(
        default_factory=lambda: [EventKind.RUN_ENDED], description=f"{_KINDS} By default ends of runs."
    )
    payloads: bool = optional(f"{_PAYLOADS} By default not.", default=False)
    enabled: bool = optional(_ENABLED, default=True)
    project_id: strawberry.ID | None = optional("Required for operator keys; by default the key's project.")

    def columns(self) -> dict[str, Any]:
        """Returns the values of the endpoint's columns.

        Raises:
            InvalidIdError, InvalidArgumentError, InputTooLargeError: the filter is invalid.
        """
        return {
            "name": self.name,
            "url": self.url,
            "run_filter": filter_text(self.filter),
            "kinds": self.kinds,
            "payloads": self.payloads,
            "enabled": self.enabled,
        }


@strawberry.input(description="Changes of an endpoint. A field that is null or left out stays as it is.")
class UpdateEndpointInput:
    """Changes of an endpoint."""

    id: strawberry.ID = strawberry.field(description="The endpoint to change.")
    name: str | None = optional(_NAME)
    url: str | None = optional(f"{_URL} What is pending is sent there, too.")
    filter: FlowRunFilter | None = optional(f"{_FILTER} It holds for events from now on.")
    kinds: list[EventKind] | None = optional(_KINDS)
    payloads: bool | None = optional(_PAYLOADS)
    enabled: bool | None = optional(
        f"{_ENABLED} An endpoint that is enabled gets events from now on, and what is pending."
    )

    def columns(self) -> dict[str, Any]:
        """Returns the new values of the endpoint's columns.

        Raises:
            InvalidIdError, InvalidArgumentError, InputTooLargeError: the filter is invalid.
        """
        plain = {name: getattr(self, name) for name in ("name", "url", "kinds", "payloads", "enabled")}
        changes = {name: value for name, value in plain.items() if value is not None}
        return changes if self.filter is None else {**changes, "run_filter": filter_text(self.filter)}


@strawberry.input(
    description="A filter of deliveries. Fields are ANDed, the values of a list are ORed. A field that is null or left"
    " out restricts nothing; an empty list matches no delivery."
)
class DeliveryFilter:
    """A filter of deliveries."""

    endpoint_ids: list[strawberry.ID] | None = optional("Deliveries to these endpoints.")
    run_ids: list[strawberry.ID] | None = optional("Deliveries of events of these runs.")
    statuses: list[DeliveryStatus] | None = optional("Deliveries with these statuses.")
    kinds: list[EventKind] | None = optional("Deliveries of events of these kinds.")
    project_ids: list[strawberry.ID] | None = optional("Deliveries in these projects.")
    created_after: datetime | None = optional("Deliveries created at this instant or later.")
    created_before: datetime | None = optional("Deliveries created before this instant.")

    def to_domain(self) -> log.DeliveryFilter:
        """Returns the domain's filter.

        Raises:
            InvalidIdError: a value is not an ID of the expected type.
            InvalidArgumentError: a list is too long.
        """

        def keys(kind: IdKind, name: str, texts: list[strawberry.ID] | None) -> Any:
            return None if texts is None else decode_ids(kind, name, texts)

        return log.DeliveryFilter(
            project_ids=keys(IdKind.PROJECT, "projectIds", self.project_ids),
            endpoint_ids=keys(IdKind.ENDPOINT, "endpointIds", self.endpoint_ids),
            run_ids=keys(IdKind.RUN, "runIds", self.run_ids),
            statuses=self.statuses,
            kinds=self.kinds,
            created_after=self.created_after,
            created_before=self.created_before,
        )


def filter_text(given: FlowRunFilter | None) -> str:
    """Returns a filter as it is stored.

    Raises:
        InvalidIdError, InvalidArgumentError, InputTooLargeError: the filter is invalid.
    """
    if given is None:
        return "{}"
    if given.to_domain().searched:
        raise InvalidArgumentError("`filter` cannot use `search`: a run gets texts without an event.")
    return given.text()
