"""Reads single objects that a viewer can see as JSON texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from db.row_json.statements import RowTexts, by_keys, read_key
from domain.ids import IdKind
from resolvers import authorize
from resolvers.context import Context
from resolvers.flow_runs import runs


class _Owned(NamedTuple):
    """The columns that `authorize.can_see` reads."""

    project_id: UUID | None


@dataclass(frozen=True, slots=True)
class NodeTable:
    """The table of a type's objects, and how its project is found."""

    table: str
    project: str
    """The SQL expression for the ID of the project."""


TABLES: Mapping[IdKind, NodeTable] = {
    IdKind.PROJECT: NodeTable("project", "project.id"),
    IdKind.FLOW: NodeTable("flow", "flow.project_id"),
    IdKind.FLOW_VERSION: NodeTable("flow_version", "flow_version.project_id"),
    IdKind.RUN: NodeTable("flow_run", "flow_run.project_id"),
    IdKind.INPUT_REQUEST: NodeTable("input_request", "input_request.project_id"),
    IdKind.SCHEDULE: NodeTable("schedule", "schedule.project_id"),
    IdKind.WEBHOOK: NodeTable("webhook", "webhook.project_id"),
    IdKind.SECRET: NodeTable("secret", "secret.project_id"),
}
"""The types whose objects can be read as JSON texts."""


async def visible(
    context: Context, kind: IdKind, keys: Sequence[UUID], texts: RowTexts, values: Mapping[str, object]
) -> Mapping[UUID, Any]:
    """Returns the texts of the objects of a type with these keys, except those that the viewer cannot see."""
    viewer = context.viewer
    if viewer.scope is not None:
        keys = list(await runs.in_scope(context, keys)) if kind is IdKind.RUN else []
        rows = await context.database.fetch(*by_keys(texts, TABLES[kind].project, keys, values)) if keys else ()
        return {read_key(key): text for text, _, key in rows}
    rows = await context.database.fetch(*by_keys(texts, TABLES[kind].project, keys, values))
    return {
        read_key(key): text for text, project_id, key in rows if authorize.can_see(viewer, _Owned(read_key(project_id)))
    }
