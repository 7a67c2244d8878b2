"""Actors: who did something, under the name that they had at that time."""

from dataclasses import dataclass
from uuid import UUID

import orjson

from domain import ids
from domain.described_enum import DescribedEnum
from domain.ids import IdKind


class ActorKind(DescribedEnum):
    """What kind of actor did something."""

    API_KEY = "API_KEY", "A client with an API key."
    USER = "USER", "A person who signed in through the identity provider."
    SCHEDULE = "SCHEDULE", "A schedule."
    WEBHOOK = "WEBHOOK", "A webhook."
    PARENT_RUN = "PARENT_RUN", "A run, by its `flow` step."
    ANSWER_LINK = "ANSWER_LINK", "A person with a signed link to a question."
    CLI = "CLI", "A person at the command line of a host."
    SYSTEM = "SYSTEM", "The service itself."


_ID_KINDS = {
    ActorKind.API_KEY: IdKind.API_KEY,
    ActorKind.USER: IdKind.USER,
    ActorKind.SCHEDULE: IdKind.SCHEDULE,
    ActorKind.WEBHOOK: IdKind.WEBHOOK,
    ActorKind.PARENT_RUN: IdKind.RUN,
    ActorKind.ANSWER_LINK: IdKind.ANSWER_LINK,
}


@dataclass(frozen=True, slots=True)
class Actor:
    """The actor behind a change."""

    kind: ActorKind
    id: UUID | None = None
    """The ID of the key, user, schedule, webhook, run or link; None for actors without an ID."""
    name: str | None = None
    """The actor's name at that time; for CLI the user of the host. None: the actor had no name."""

    @property
    def shown_id(self) -> str | None:
        """Returns the ID as clients see it."""
        return ids.encode(_ID_KINDS[self.kind], self.id) if self.id is not None else None

    @property
    def is_client(self) -> bool:
        """True for callers of the API: keys for machines, and people."""
        return self.kind in (ActorKind.API_KEY, ActorKind.USER)

    @property
    def text(self) -> str:
        """Returns the actor as JSON text: an object with the members that clients see."""
        return orjson.dumps({"kind": self.kind.value, "id": self.shown_id, "name": self.name}).decode()

    @property
    def cancellation_message(self) -> str:
        """The status message of a run that this actor cancelled."""
        return f"Cancelled {'by' if self.kind is ActorKind.USER else 'with the key'} {self.name!r}"


SYSTEM = Actor(ActorKind.SYSTEM)
"""The service itself."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of a change: an actor, and the request in which the actor made the change."""

    actor: Actor
    request_id: str | None = None
    """The ID of the request; None if the change was made without a request."""


BY_SYSTEM = Origin(SYSTEM)
"""The origin of the service's own changes."""
