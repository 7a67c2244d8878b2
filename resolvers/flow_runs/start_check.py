"""What is known in advance of a mutation that starts a run from another one."""

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
    """Why it would be refused, or else what it cannot mend or would repeat; None: nothing of that."""
    reused: Sequence[str] = ()
    """Names of the steps whose results the new run keeps; none if it is refused."""
    rerun: Sequence[str] = ()
    """Names of the steps that the new run executes; none if it is refused."""


async def definition(context: Context, version_id: UUID | None) -> str:
    """Returns the definition of a version as JSON text; one without steps if there is no version."""
    if version_id is None:
        return "{}"
    version = await context.loaders.load(flows.versions_by_ids, version_id, frozenset({"definition"}))
    return version.definition if version else "{}"


def step_names(definition: str) -> list[str]:
    """Returns the names of the steps in the JSON text of a definition."""
    return [step["name"] for step in json_codec.decode(definition).get("steps", ())]


def joined(*hints: str | bool | int | None) -> str | None:
    """Returns the hints that are texts as one text; None if there is none."""
    return " ".join(hint for hint in hints if hint and isinstance(hint, str)) or None
