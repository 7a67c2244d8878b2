"""The frontend in examples/frontend: its types, its documents, and its live list over disconnects."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

from graphql import parse, validate

from schema.build import build_schema
from tests.support.processes.node import WEB, running, tool
from tests.support.processes.proxy import Proxy
from tests.support.processes.server import AppServer

PATIENCE = 60.0
FRONTEND = WEB.parent / "examples" / "frontend"
SCRIPT = Path(__file__).with_name("live_list.mjs")
FLOW = {"steps": [{"name": "a", "kind": "transform", "input": 1}], "summary": "Order {{ run.input.order }}"}


def test_it_is_small_and_its_documents_are_valid() -> None:
    written = [path for pattern in ("*.ts", "src/*.ts", "src/*.tsx") for path in FRONTEND.glob(pattern)]
    assert sum(len(path.read_text().splitlines()) for path in written) <= 150
    source = (FRONTEND / "src" / "live-runs.ts").read_text()
    (first, second) = re.findall(r"graphql\(`(.*?)`\)", source, re.DOTALL)
    assert validate(build_schema()._schema, parse(first + second)) == []
    # The generated types are those of these documents: `npm run codegen` in examples/frontend.
    generated = (FRONTEND / "src" / "gql" / "gql.ts").read_text()
    assert all(json.dumps(text)[1:-1] in generated for text in (first, second))


async def test_it_type_checks(tmp_path: Path) -> None:
    modules = WEB / "node_modules"
    config = {
        "extends": str(FRONTEND / "tsconfig.json"),
        "compilerOptions": {"types": [], "paths": {"*": [f"{modules}/@types/*", f"{modules}/*"]}},
        "include": [str(FRONTEND / "src")],
    }
    (tmp_path / "tsconfig.json").write_text(json.dumps(config))
    code, said = await tool("typescript/bin/tsc", "-p", str(tmp_path / "tsconfig.json"))
    assert code == 0, said


async def test_live_list_survives_disconnects(app_server: AppServer, tmp_path: Path) -> None:
    app, proxy = app_server.app, Proxy(app_server.url)
    flow_id = await app.create_flow(FLOW, "shop")
    first = (await app.start(flow_id, input={"order": 0}))["run"]["id"]
    await app.wait_until_final(first)
    async with proxy.listening() as url:
        arguments = (str(FRONTEND / "src" / "live-runs.ts"), str(tmp_path / "live-runs.mjs"), f"{url}/graphql")
        async with running(SCRIPT.read_text(), *arguments, app.keys.admin) as process:
            assert process.stdout is not None

            async def until(expected: dict[str, str]) -> None:
                """Reads states until the list shows these summaries by run, and is live."""
                while True:
                    line = await asyncio.wait_for(process.stdout.readline(), PATIENCE)  # type: ignore[union-attr]
                    assert line, "the frontend ended"
                    state: dict[str, Any] = json.loads(line)
                    assert "problem" not in state
                    shown = {run["id"]: run["summary"] for run in state["runs"] if run["status"] == "SUCCEEDED"}
                    if state["isLive"] and shown == expected:
                        return

            expected = {first: "Order 0"}
            await until(expected)
            for order in (1, 2, 3):
                proxy.reset()
                run_id = (await app.start(flow_id, input={"order": order}))["run"]["id"]
                await app.wait_until_final(run_id)
                expected = {**expected, run_id: f"Order {order}"}
                await until(expected)
    assert proxy.disconnects >= 3
