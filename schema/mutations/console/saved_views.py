"""Mutations of saved views."""

from typing import Annotated
from uuid import UUID

import strawberry

from db.console import saved_views as db_saved_views
from domain.errors import (
    InputTooLargeError,
    ProjectNotFoundError,
    ProjectRequiredError,
    SavedViewNameTakenError,
    SavedViewNotFoundError,
)
from resolvers.console import saved_views
from resolvers.console.saved_views import ViewChange
from schema.arguments import argument
from schema.enums import Role
from schema.fields import Info, columns_of
from schema.inputs.filters import FlowRunFilter, FlowRunOrder
from schema.mutations.declaration import mutation, result, success
from schema.types.console.saved_view import SavedView

_KEPT = "If omitted or null, it stays."


@success
class CreateSavedViewSuccess:
    """The view was created."""

    saved_view: SavedView = strawberry.field(description="The view.")


@success
class UpdateSavedViewSuccess:
    """The view was changed."""

    saved_view: SavedView = strawberry.field(description="The view as it is now.")


@success
class DeleteSavedViewSuccess:
    """The view was deleted."""

    saved_view_id: strawberry.ID = strawberry.field(description="The ID of the view.")


CreateSavedViewResult = Annotated[
    CreateSavedViewSuccess | SavedViewNameTakenError | ProjectRequiredError | ProjectNotFoundError | InputTooLargeError,
    result("CreateSavedViewResult", "The view, or an error that says why it was not created."),
]
UpdateSavedViewResult = Annotated[
    UpdateSavedViewSuccess | SavedViewNotFoundError | SavedViewNameTakenError | InputTooLargeError,
    result("UpdateSavedViewResult", "The view, or an error that says why it was not changed."),
]
DeleteSavedViewResult = Annotated[
    DeleteSavedViewSuccess | SavedViewNotFoundError,
    result("DeleteSavedViewResult", "The ID of the view, or an error that says why it was not deleted."),
]


@strawberry.type(description="Mutations of saved views.")
class SavedViewMutation:
    """The mutations of saved views, a part of the root type."""

    @mutation(Role.OPERATOR, "Saves a filter and an order of runs under a name.")
    async def create_saved_view(
        self,
        info: Info,
        name: Annotated[str, argument("The name: 1 to 200 characters.")],
        filter: Annotated[FlowRunFilter, argument("The filter.")],  # noqa: A002
        order_by: Annotated[FlowRunOrder | None, argument("The order. Default: the newest first.")] = None,
        shared: Annotated[
            bool, argument("True: every key of the project sees the view. Default: only the key in use, or the person.")
        ] = False,
        project_id: Annotated[
            strawberry.ID | None,
            argument("The project of the view. Required for operator keys. Default: the key's project."),
        ] = None,
    ) -> CreateSavedViewResult:
        filter.to_domain()
        order = (order_by or FlowRunOrder()).to_domain()
        key = await saved_views.create(info.context, project_id, name, filter.text(), order, shared=shared)
        return CreateSavedViewSuccess(saved_view=await _written(info, key))

    @mutation(Role.OPERATOR, "Changes a view that is shared or belongs to the key in use, or to the person.")
    async def update_saved_view(
        self,
        info: Info,
        id: Annotated[strawberry.ID, argument("The view.")],  # noqa: A002
        name: Annotated[str | None, argument(f"The new name. {_KEPT}")] = None,
        filter: Annotated[FlowRunFilter | None, argument(f"The new filter. {_KEPT}")] = None,  # noqa: A002
        order_by: Annotated[FlowRunOrder | None, argument(f"The new order. {_KEPT}")] = None,
        shared: Annotated[
            bool | None,
            argument(f"True shares the view; false makes it a view of the key in use, or of the person. {_KEPT}"),
        ] = None,
    ) -> UpdateSavedViewResult:
        if filter is not None:
            filter.to_domain()
        requested = ViewChange(
            name=name,
            filter_text=None if filter is None else filter.text(),
            order=None if order_by is None else order_by.to_domain(),
            shared=shared,
        )
        return UpdateSavedViewSuccess(
            saved_view=await _written(info, await saved_views.change(info.context, id, requested))
        )

    @mutation(Role.OPERATOR, "Deletes a view that is shared or belongs to the key in use, or to the person.")
    async def delete_saved_view(
        self,
        info: Info,
        id: Annotated[strawberry.ID, argument("The view to delete.")],  # noqa: A002
    ) -> DeleteSavedViewResult:
        await saved_views.remove(info.context, id)
        return DeleteSavedViewSuccess(saved_view_id=id)


async def _written(info: Info, key: UUID) -> SavedView:
    columns = columns_of(info, SavedView, "savedView")
    return SavedView(row=await info.context.loaders.load_written(db_saved_views.by_ids, key, columns))
