"""What README tells a newcomer to type does what it says."""

import asyncio
import json
import re
from pathlib import Path

from db.core import pubsub
from db.runs import reads as run_reads
from domain import ids
from domain.ids import IdKind
from tests.support.node import running
from tests.support.proxy import Proxy
from tests.support.server import AppServer, Server

README = (Path(__file__).parents[2] / "README.md").read_text()
PATIENCE = 60.0


async def test_the_walk_through_works_as_it_stands(server: Server, tmp_path: Path) -> None:
    found = re.search(r"## A first run.*?```sh\n(.*?)```", README, re.DOTALL)
    assert found is not None
    script = found.group(1).replace("http://127.0.0.1:8000", server.url)
    key_file = tmp_path / ".flowruns" / "admin.key"
    key_file.parent.mkdir()
    key_file.write_text(server.admin_key)
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", script, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert (process.returncode, err) == (0, b"")
    created, failed, retried, both = [json.loads(line)["data"] for line in out.decode().splitlines()]
    assert created["createFlow"]["flow"]["publishedVersion"] == {"number": 1}
    assert failed["flowRun"]["status"] == "FAILED"
    assert retried["retry"]["run"]["id"].startswith("run_")
    assert both["flowRuns"]["totalCount"] == 2


async def test_the_live_list_shows_what_there_is_whatever_happens_to_its_connection(app_server: AppServer) -> None:
    found = re.search(r"### A live list.*?```js\n(.*?)```", README, re.DOTALL)
    assert found is not None
    app, proxy = app_server.app, Proxy(app_server.url)
    asking = await app.create_flow({"steps": [{"name": "ask", "kind": "humanInput", "input": {"title": "Go on?"}}]})
    quick = await app.create_flow({"steps": [{"name": "only", "kind": "transform", "input": 1}]}, "quick")
    first = await _paused(app_server, asking)
    async with (
        proxy.listening() as url,
        running(found.group(1), f"{url.replace('http', 'ws')}/graphql", app.keys.viewer) as process,
    ):

        async def shown(wanted: set[str]) -> None:
            """Return when these runs are listed, all of them PAUSED."""
            assert process.stdout is not None
            while True:
                line = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
                assert line, "the list ended"
                listed = json.loads(line)
                if {run["id"] for run in listed} == wanted and all(run["status"] == "PAUSED" for run in listed):
                    return

        await shown({first})
        second = await _paused(app_server, asking)
        await shown({first, second})
        proxy.cut()
        await app.wait_until_final((await app.start(quick))["run"]["id"])
        third = await _paused(app_server, asking)
        await app.query("mutation($id: ID!) { cancel(runId: $id) { __typename } }", {"id": first})
        await shown({second, third})


async def _paused(app_server: AppServer, flow_id: str) -> str:
    """A run that waits for an answer."""
    app = app_server.app
    run_id: str = (await app.start(flow_id))["run"]["id"]
    key = ids.decode(IdKind.RUN, run_id)
    with app.database.signals.listen(pubsub.run_changed(key)) as changed:
        while (await app.database.read(run_reads.by_ids, [key], {"status"}))[key].status != "PAUSED":
            await asyncio.wait_for(changed.wait(), PATIENCE)
            changed.clear()
    return run_id
