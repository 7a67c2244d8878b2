"""Secrets, without their values."""

from datetime import datetime

import strawberry

from db.row_types import SecretRow
from domain.ids import IdKind
from schema.enums import Environment
from schema.fields import Info, column, field, id_column
from schema.relay.node import Node
from schema.types.actor import Actor, actor_column


@strawberry.type(
    description="A value that steps use as `{{ secrets.NAME }}`. It is stored encrypted, and no API returns it."
)
class Secret(Node):
    """A value that steps can use and no API returns."""

    row: strawberry.Private[SecretRow]

    id: strawberry.ID = id_column(IdKind.SECRET, "The secret's ID.")
    name: str = column("name", "The name by which templates refer to the secret.")
    environment: Environment | None = column(
        "environment",
        "The environment whose runs get the value; null for all environments without a value of their own.",
        convert=Environment,
    )
    created_at: datetime = column("created_at", "The creation.")
    changed_at: datetime = column("changed_at", "The time at which the value was last set.")
    changed_by: Actor = actor_column("changed_by", "Who last set the value.")

    @field(
        "False if the service lacks the key that encrypted the value, so that steps cannot use it. Add the key to"
        " FLOWRUNS_SECRET_KEYS, or set a new value with `rotateSecret`.",
        "key_id",
    )
    def is_readable(self, info: Info) -> bool:
        return self.row.key_id in info.context.secret_keys
