"""Saved views of lists of runs."""

from datetime import datetime

import strawberry
from strawberry.scalars import JSON

from db import projects
from db.row_types import SavedViewRow
from domain.ids import IdKind
from schema.enums import OrderDirection, RunOrderField
from schema.fields import column, field, id_column, json_column, link
from schema.relay.node import Node
from schema.types.actor import Actor, actor_column
from schema.types.project import Project


@strawberry.type(description="An order of runs, as `FlowRunOrder` gives it.")
class SavedOrder:
    """An order of runs."""

    field: RunOrderField = strawberry.field(description="The value to order by.")
    direction: OrderDirection = strawberry.field(description="The direction of the order.")


@strawberry.type(
    description="A name for a filter and an order of runs: shared in its project, or of one API key or person."
)
class SavedView(Node):
    """A name for a filter and an order of runs."""

    row: strawberry.Private[SavedViewRow]

    id: strawberry.ID = id_column(IdKind.SAVED_VIEW, "The view's ID.")
    name: str = column("name", "The name. Shared views of a project have different names, as do those of one owner.")
    filter: JSON = json_column("filter", "The filter: a value for the argument `filter` of `flowRuns`.")
    created_at: datetime = column("created_at", "The creation.")
    updated_at: datetime = column("updated_at", "The time of the last change.")
    created_by: Actor = actor_column("created_by", "Who created the view.")
    updated_by: Actor = actor_column("updated_by", "Who changed the view last.")
    project: Project = link("The project of the view.", "project_id", projects.by_ids, "project")

    @field(
        "True if every key of the project sees the view; false if only the key or the person who created it does.",
        "owner_id",
    )
    def is_shared(self) -> bool:
        return self.row.owner_id is None

    @field("The order: a value for the argument `orderBy` of `flowRuns`.", "order_field", "descending")
    def order_by(self) -> SavedOrder:
        direction = OrderDirection.DESC if self.row.descending else OrderDirection.ASC
        return SavedOrder(field=RunOrderField(self.row.order_field), direction=direction)
