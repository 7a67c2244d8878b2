"""Actors: who did something."""

from typing import Any

import strawberry

from db.row_json.sources import JsonMembers
from domain import json_codec
from schema.enums import ActorKind
from schema.fields import column


@strawberry.type(description="The actor behind a change, under the name of that time.")
class Actor:
    """The actor behind a change."""

    kind: ActorKind = strawberry.field(description="The kind of the actor.")
    id: strawberry.ID | None = strawberry.field(
        description="The ID of the API key, user, schedule, webhook, parent run or answer link; null for the command"
        " line and the service."
    )
    name: str | None = strawberry.field(
        description="The actor's name at that time; for the command line the user of its host. Null if the actor "
        "has no name."
    )


def actor(text: str) -> Actor:
    """Returns the actor in JSON text."""
    members = json_codec.decode(text)
    return Actor(kind=ActorKind(members["kind"]), id=members["id"], name=members["name"])


def actor_column(name: str, description: str) -> Any:
    """Declares a field over an actor's JSON text in the column `name`."""
    return column(name, description, convert=actor, written=JsonMembers(name))
