"""The query for saved views."""

from typing import Annotated

import strawberry

from resolvers.console import saved_views
from schema.arguments import argument
from schema.fields import Info, columns_of, field
from schema.types.console.saved_view import SavedView

ProjectId = Annotated[
    strawberry.ID | None, argument("The project. Required for operator keys. Default: the key's project.")
]


@strawberry.type(description="Saved views.")
class SavedViewsQuery:
    """Saved views, a part of the root type."""

    @field("The shared views of a project and those of the key in use or the person, in the order of their names.")
    async def saved_views(self, info: Info, project_id: ProjectId = None) -> list[SavedView]:
        rows = await saved_views.of_project(info.context, project_id, columns_of(info, SavedView))
        return [SavedView(row=row) for row in rows]
