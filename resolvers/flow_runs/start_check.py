"""The expected result of a mutation that starts a run from another one."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from db import flows
from domain import json_codec
from resolvers.context import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class StartCheck:
    """Whether a mutation would start a run from another one, and which steps the new run would execute."""

    reason: str | None
    """The code of the error that the mutation would raise; None: it would succeed."""
    message: str | None
    """Why the mutation would be refused, or else hints about what it would repeat or cannot repair; None if there are
    none."""
    reused: Sequence[str] = ()
    """Names of the steps whose results the new run keeps; empty if the mutation is refused."""
    rerun: Sequence[str] = ()
    """Names of the steps that the new run executes; empty if the mutation is refused."""


async def definition(context: Context, version_id: UUID | None) -> str:
    """Returns the definition of a version as JSON text; a definition without steps if the version does not exist."""
    if version_id is None:
        return "{}"
    version = await context.loaders.load(flows.versions_by_ids, version_id, frozenset({"definition"}))
    return version.definition if version else "{}"


def step_names(definition: str) -> list[str]:
    """Returns the names of the steps in the JSON text of a definition."""
    return [step["name"] for step in json_codec.decode(definition).get("steps", ())]


def joined(*hints: str | bool | int | None) -> str | None:
    """Returns the hints that are not None as one text; None if all are None."""
    return " ".join(hint for hint in hints if hint and isinstance(hint, str)) or None
