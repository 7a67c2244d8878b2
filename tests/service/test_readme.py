"""What README tells a newcomer to type does what it says."""

import asyncio
import json
import re
from pathlib import Path

from tests.support.api import LiveServer

README = (Path(__file__).parents[2] / "README.md").read_text()
PATIENCE = 60.0


async def test_the_walk_through_works_as_it_stands(live_server: LiveServer, tmp_path: Path) -> None:
    found = re.search(r"## A first run.*?```sh\n(.*?)```", README, re.DOTALL)
    assert found is not None
    script = found.group(1).replace("http://127.0.0.1:8000", live_server.url)
    key_file = tmp_path / ".flowruns" / "admin.key"
    key_file.parent.mkdir()
    key_file.write_text(live_server.admin_key)
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", script, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert (process.returncode, err) == (0, b"")
    created, failed, retried, runs = [json.loads(line)["data"] for line in out.decode().splitlines()]
    assert created["createFlow"]["flow"]["publishedVersion"] == {"number": 1}
    assert failed["flowRun"]["status"] == "FAILED"
    assert retried["retry"]["run"]["id"].startswith("run_")
    assert runs["flowRuns"]["totalCount"] == 2
