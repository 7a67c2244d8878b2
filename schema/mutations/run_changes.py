"""The mutation of the data that clients keep with a run: tags, metadata and note."""

from typing import Annotated

import strawberry
from strawberry.scalars import JSON

from db.runs import reads
from domain.errors import InputTooLargeError, RunNotFoundError
from resolvers.flow_runs import change
from resolvers.flow_runs.change import MAX_NOTE_LENGTH, RunChange
from schema.arguments import argument, given
from schema.enums import Role
from schema.fields import Info, columns_of
from schema.mutations.declaration import mutation, result, success
from schema.types.flow_run import FlowRun


@success
class UpdateRunSuccess:
    """The run was changed."""

    run: FlowRun = strawberry.field(description="The run as it is now.")


UpdateRunResult = Annotated[
    UpdateRunSuccess | RunNotFoundError | InputTooLargeError,
    result("UpdateRunResult", "The run, or an error that says why it was not changed."),
]


@strawberry.type(description="The mutation of what clients say about a run.")
class RunChangeMutation:
    """The mutation of tags, metadata and note, a part of the root type."""

    @mutation(
        Role.OPERATOR,
        "Changes the tags, the metadata or the note of a run in any status. Subscriptions deliver the change. "
        "Templates of the run keep using the metadata of its claim.",
    )
    async def update_run(
        self,
        info: Info,
        run_id: Annotated[strawberry.ID, argument("The run to change.")],
        tags: Annotated[
            list[str] | None, argument("The new list of all tags. If omitted or null, the tags stay.")
        ] = None,
        add_tags: Annotated[list[str] | None, argument("Tags to add. Not together with `tags`.")] = None,
        remove_tags: Annotated[list[str] | None, argument("Tags to remove. Not together with `tags`.")] = None,
        metadata: Annotated[
            JSON | None, argument("The new metadata, a JSON object that replaces the old one. If omitted, it stays.")
        ] = strawberry.UNSET,
        note: Annotated[
            str | None,
            argument(f"A note for people: 1 to {MAX_NOTE_LENGTH:,} characters. Null removes it. If omitted, it stays."),
        ] = strawberry.UNSET,
    ) -> UpdateRunResult:
        requested = RunChange(
            tags=tags,
            add_tags=add_tags or (),
            remove_tags=remove_tags or (),
            columns=given(metadata=metadata, note=note),
        )
        key = await change.change(info.context, run_id, requested)
        row = await info.context.loaders.load_written(reads.by_ids, key, columns_of(info, FlowRun, "run"))
        return UpdateRunSuccess(run=FlowRun(row=row))
