"""Who did something: an actor, as it was called when it did."""

from dataclasses import dataclass
from uuid import UUID

import orjson

from domain import ids
from domain.described_enum import DescribedEnum
from domain.ids import IdKind


class ActorKind(DescribedEnum):
    """What an actor is."""

    API_KEY = "API_KEY", "An API key."
    USER = "USER", "A person who signed in through the identity provider."
    SCHEDULE = "SCHEDULE", "A schedule."
    WEBHOOK = "WEBHOOK", "A webhook."
    PARENT_RUN = "PARENT_RUN", "A run, by its `flow` step."
    CLI = "CLI", "Somebody at the command line of a host."
    SYSTEM = "SYSTEM", "The service itself."


_ID_KINDS = {
    ActorKind.API_KEY: IdKind.API_KEY,
    ActorKind.USER: IdKind.USER,
    ActorKind.SCHEDULE: IdKind.SCHEDULE,
    ActorKind.WEBHOOK: IdKind.WEBHOOK,
    ActorKind.PARENT_RUN: IdKind.RUN,
}


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did something."""

    kind: ActorKind
    id: UUID | None = None
    """Of the key, user, schedule, webhook or run; None for actors without an ID."""
    name: str | None = None
    """Its name at that time; for CLI the user of the host. None: it had none."""

    @property
    def shown_id(self) -> str | None:
        """The ID as clients see it."""
        return ids.encode(_ID_KINDS[self.kind], self.id) if self.id is not None else None

    @property
    def text(self) -> str:
        """The actor as it is stored with what it did: a JSON object with the members that clients see."""
        return orjson.dumps({"kind": self.kind.value, "id": self.shown_id, "name": self.name}).decode()

    @property
    def cancellation_message(self) -> str:
        """The status message of a run that this actor cancelled."""
        return f"Cancelled {'by' if self.kind is ActorKind.USER else 'with the key'} {self.name!r}"


SYSTEM = Actor(ActorKind.SYSTEM)
"""The service itself."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a change comes from."""

    actor: Actor
    request_id: str | None = None
    """The ID of the request; None if it was no request."""


BY_SYSTEM = Origin(SYSTEM)
"""The service itself, without a request."""
