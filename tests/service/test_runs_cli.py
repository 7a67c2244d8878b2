"""The commands `python -m service runs …` against a running service."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import click
from click.testing import CliRunner, Result

from db.queue import workers as workers_table
from db.queue.workers import WorkerIdentity
from domain import ids
from domain.enums import RunStatus
from domain.ids import IdKind
from domain.time import clock
from service.api_client import ApiClient
from service.queue_cli import queues, workers
from service.runs_cli import runs
from tests.resolvers.test_cancel_and_resume import ASK
from tests.support.app import PATIENCE
from tests.support.processes.server import AppServer, run_server
from tests.support.run_family import make_flow, make_runs

FOLLOW = """subscription($id: ID!, $after: String) { flowRunProgressed(runId: $id, after: $after) { __typename
    ... on FlowRunStatusChanged { cursor status } ... on CaughtUp { cursor } } }"""


class Shell:
    """Invokes `runs` with the address and a key of a service."""

    def __init__(self, server: AppServer) -> None:
        self._environment = {"FLOWRUNS_URL": server.url, "FLOWRUNS_KEY": server.admin_key}

    async def run(self, *arguments: str, answer: str | None = None) -> Result:
        runner = CliRunner(env=self._environment)
        return await asyncio.to_thread(runner.invoke, runs, arguments, input=answer)

    async def succeed(self, *arguments: str) -> str:
        result = await self.run(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    async def values(self, *arguments: str) -> list[Any]:
        """Returns the JSON values that a command prints."""
        return [json.loads(line) for line in (await self.succeed("--json", *arguments)).splitlines()]


async def test_runs_are_started_watched_resumed_and_listed(database_url: str) -> None:
    async with run_server(database_url, with_worker=True) as server:
        shell = Shell(server)
        await server.app.create_flow(ASK, "approval")
        (started,) = await shell.values("start", "approval", "--tag", "red", "--input", '{"order": 7}')
        run_id = started["id"]
        loop, paused = asyncio.get_running_loop(), asyncio.Event()

        def follow() -> list[str]:
            seen = []
            for event in ApiClient(server.url, server.admin_key).stream(FOLLOW, {"id": run_id}):
                seen.append(event.get("status", event["__typename"]))
                if event["__typename"] == "CaughtUp" or seen[-1] == "PAUSED":
                    loop.call_soon_threadsafe(paused.set)
            return seen

        following = asyncio.create_task(asyncio.to_thread(follow))
        await asyncio.wait_for(paused.wait(), PATIENCE)
        while (await shell.values("list", "--status", "PAUSED"))[0]["totalCount"] == 0:
            pass
        assert "INPUT_INVALID" in (await shell.run("resume", run_id, '{"ok": 1}')).output
        await shell.succeed("resume", run_id, '{"ok": true}')
        assert (await following)[-1] == "SUCCEEDED"
        await shell.succeed("watch", run_id)
        listed = await shell.succeed("list", "--flow", "approval", "--tag", "red", "--since", "PT1H")
        assert run_id in listed
        assert "1 of 1 runs" in listed


async def test_runs_are_retried_and_cancelled_as_planned(database_url: str) -> None:
    async with run_server(database_url) as server:
        shell, app = Shell(server), server.app
        flow = await make_flow(app, "shop")
        failed = {"status": RunStatus.FAILED, "failed_step_name": "b", "error_message": "No", "error_code": "X"}
        one, *_ = await make_runs(app, flow, failed, failed, {"status": RunStatus.SUCCEEDED})
        planned = await shell.succeed("retry", "--flow", "shop", "--strategy", "ON_LATEST_VERSION", "--dry-run")
        assert "2 of 3 runs are eligible" in planned
        declined = await shell.run("retry", one, "--strategy", "ON_LATEST_VERSION", answer="n\n")
        assert (declined.exit_code, "Retry 1 of 1 runs?" in declined.output) == (1, True)
        (done,) = await shell.values("retry", "--flow", "shop", "--strategy", "ON_LATEST_VERSION", "--yes")
        assert (done["succeeded"], done["skipped"]) == (2, 1)
        assert "2 of 2 runs changed" in await shell.succeed("cancel", "--status", "QUEUED", "--flow", "shop", "--yes")


async def test_failing_command_prints_one_line(database_url: str) -> None:
    async with run_server(database_url) as server:
        shell = Shell(server)
        unknown = await shell.run("start", "nothing")
        assert (unknown.exit_code, unknown.output) == (1, "Error: 0 flows are called 'nothing'.\n")
        assert "EMPTY_FILTER" in (await shell.run("cancel", "--yes")).output
        assert "UNAUTHENTICATED" in (await shell.run("--key", "wrong", "list")).output
        away = await shell.run("--url", "http://127.0.0.1:1", "list")
        assert (away.exit_code, "cannot be reached" in away.output) == (1, True)


async def test_workers_and_queues_are_listed(database_url: str) -> None:
    async with run_server(database_url) as server:
        app = server.app
        flow = await make_flow(app, "shop")
        now, lease = clock.now(), {"lease_token": ids.new_uuid()}
        (run_id,) = await make_runs(
            app, flow, {"status": RunStatus.RUNNING, "due_at": now + timedelta(hours=1), **lease}
        )
        await make_runs(app, flow, {"due_at": now - timedelta(hours=3), "lease_token": None})
        worker = WorkerIdentity(ids.new_uuid(), "host.test", 7, "9.9", 5, now)
        await app.database.write(workers_table.report, worker, [ids.decode(IdKind.RUN, run_id)], draining=False)
        runner = CliRunner(env={"FLOWRUNS_URL": server.url, "FLOWRUNS_KEY": server.admin_key})

        async def printed(command: click.Command, *arguments: str) -> str:
            result = await asyncio.to_thread(runner.invoke, command, arguments)
            assert result.exit_code == 0, result.output
            return result.stdout

        shown = await printed(workers)
        assert "ACTIVE    host.test:7  9.9  1 of 5 runs, 4 free" in shown
        assert (run_id in shown, "1 of 1 workers" in shown) == (True, True)
        (row,) = json.loads(await printed(queues, "--json"))
        assert (row["due"], row["executing"], row["flow"]["name"]) == (1, 1, "shop")
        header, *rows = (await printed(queues, "--by", "priority")).splitlines()
        assert header.split() == ["due", "oldest", "for", "slot", "oldest", "executing", "later", "slots"]
        assert [each.split()[-1] for each in rows] == ["INTERACTIVE", "STARTED", "NEW"]
        assert rows[-1].split()[:3] == ["1", "3", "h"]
        refused = await asyncio.to_thread(runner.invoke, queues, ["--first", "0"])
        assert (refused.exit_code, "`first` must be from 1 to 1000" in refused.output) == (1, True)
