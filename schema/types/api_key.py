"""API keys."""

from datetime import datetime

import strawberry

from db import projects
from db.row_types import ApiKeyRow
from domain import ids
from domain.ids import IdKind
from schema.enums import Role
from schema.fields import column, id_column, link
from schema.types.actor import Actor, actor_column
from schema.types.project import Project


@strawberry.type(description="An API key. Its secret is returned once, when it is created.")
class ApiKey:
    """An API key."""

    row: strawberry.Private[ApiKeyRow]

    id: strawberry.ID = id_column(IdKind.API_KEY, "The key's ID.")
    name: str = column("name", "The purpose of the key.")
    role: Role = column("role", "The rights of the key.", convert=Role)
    payloads: bool = column(
        "payloads", "True if the key can read inputs, outputs, details of errors, logs and files of runs."
    )
    cost_per_minute: int | None = column(
        "cost_per_minute",
        "What the operations and downloads of the key, and of its access tokens, may cost in a minute; null: the"
        " default of the service.",
    )
    hint: str = column("hint", "The first characters of the secret, to distinguish keys.")
    project: Project | None = link(
        "The project of the key; null for operator keys, which can see all projects.",
        "project_id",
        projects.by_ids,
        "project",
    )
    user_id: strawberry.ID | None = column(
        "user_id",
        "The ID of the person whose session this is, who signed in through the identity provider; null for a key.",
        convert=lambda key: ids.encode(IdKind.USER, key),
    )
    created_by: Actor | None = actor_column("created_by", "Who created the key; null if unknown.")
    created_at: datetime = column("created_at", "The instant of the key's creation.")
    expires_at: datetime | None = column(
        "expires_at", "The instant at which the key expires or has expired; null if it does not expire."
    )
    last_used_at: datetime | None = column(
        "last_used_at",
        "The time of the last request with the key, accurate to five minutes; null if there was none.",
    )
    revoked_at: datetime | None = column("revoked_at", "The instant at which the key was revoked; null if it was not.")
    replaces_id: strawberry.ID | None = column(
        "replaces_id",
        "The ID of the key that this one replaced by a rotation; null if it replaced none.",
        convert=lambda key: ids.encode(IdKind.API_KEY, key),
    )
