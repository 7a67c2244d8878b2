"""A rolling upgrade: processes of this version on the schema of a later one, while runs are executed."""

import asyncio
from pathlib import Path

import pytest

from db import migrate
from db.migrate import MigrationError
from domain.enums import RunStatus
from tests.operations.harness import Api, serving
from tests.support.query import query

NEXT = "9999"
"""A revision that this version does not know."""
EXPAND = (
    "ALTER TABLE flow_run ADD COLUMN of_a_later_version TEXT",
    "ALTER TABLE run_event ADD COLUMN of_a_later_version TEXT",
    "CREATE TABLE of_a_later_version (id TEXT PRIMARY KEY)",
    f"UPDATE alembic_version SET version_num = '{NEXT}'",
)
CONTRACT = f"UPDATE {migrate.OLDEST} SET version_num = '{NEXT}'"


async def run_both(api: Api, held: str, flow: str) -> None:
    """Ends a run that was begun before, and executes another one."""
    (question,) = (await api.ask("query($id: ID!) { flowRun(id: $id) { pendingInputs { id } } }", id=held))["flowRun"][
        "pendingInputs"
    ]
    await api.answer(held, question["id"])
    for run_id in (held, await api.start(flow)):
        assert await api.wait_until(run_id) == "SUCCEEDED"


async def test_this_version_goes_on_and_starts_on_a_schema_that_was_expanded(database_url: str, tmp_path: Path) -> None:
    async with serving(database_url, tmp_path, with_worker=True) as api:
        asking = await api.create_flow(
            "asking",
            {"name": "a", "kind": "humanInput", "input": {"title": "Go on?"}},
            {"name": "b", "kind": "transform", "input": "{{ steps.a.output }}"},
        )
        quick = await api.create_flow("quick", {"name": "a", "kind": "transform", "input": 1})
        before = [await api.start(asking) for _ in range(2)]
        for run_id in before:
            await api.wait_until(run_id, [RunStatus.PAUSED])
        await query(database_url, *EXPAND)
        assert (await api.get("/readyz")).status_code == 200
        await run_both(api, before[0], quick)
        await asyncio.to_thread(migrate.upgrade, database_url)  # changes nothing
    # A process of this version that starts in the middle of the upgrade, or after a step back.
    async with serving(database_url, tmp_path, with_worker=True) as api:
        assert (await api.get("/readyz")).text == "ready\n"
        await run_both(api, before[1], quick)
        await query(database_url, CONTRACT)
        refused = await api.get("/readyz")
        assert (refused.status_code, refused.text) == (503, f"{migrate.NEWER}\n")
        with pytest.raises(MigrationError, match="newer version"):
            await asyncio.to_thread(migrate.upgrade, database_url)
