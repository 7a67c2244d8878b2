"""A soak: `python -m tests.soak sqlite|postgresql [SECONDS] [SEED]`.

Two API processes and two workers serve clients that start, cancel, answer, retry and archive runs. At the same time
processes are killed, stopped for longer than a lease or asked to stop, the PostgreSQL server is restarted and killed,
and subscribers lose their connections. When all work has ended, every guarantee is checked. Ends with 1 if one is
broken.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Connection, Select, func, or_, select

from db.assembly import open_database
from db.core.database import Database
from db.events.log import RUN_STATUS
from db.migrate import upgrade
from db.models import BulkOperation, FlowRun, RunEvent, StepAttempt
from db.models.types import table
from db.rollups.check import differences
from db.sql.rows import AnyRow
from domain import ids
from domain.bulk import BulkStatus
from domain.enums import RunStatus, StepStatus
from domain.ids import IdKind
from domain.runs.state_machine import FINAL, LIVE
from tests.support.databases.postgres import PostgresServer, free_port, postgres_server

ROOT = Path(__file__).parent.parent
KEY = "soak-" * 8
LEASE = 5
SUBSCRIBERS = 4
STARTERS = 4
REST_SECONDS = 120
"""Seconds after which a run that is still live counts as stuck."""

_python = {"kind": "python", "input": {"action": "soak.work", "args": {}}}
_FLOWS: dict[str, tuple[int, Sequence[dict[str, Any]]]] = {
    "three": (6, [{"name": name, **_python} for name in "abc"]),
    "delay": (
        2,
        [
            {"name": "a", **_python},
            {"name": "wait", "kind": "delay", "input": {"for": 1}},
            {"name": "b", "kind": "python", "input": {"action": "soak.block", "args": {"ms": 3}}},
        ],
    ),
    "human": (
        1,
        [{"name": "ask", "kind": "humanInput", "input": {"title": "Go on?", "schema": {}}}, {"name": "b", **_python}],
    ),
    "slow": (1, [{"name": "a", "kind": "python", "input": {"action": "soak.work", "args": {"ms": 3000}}}]),
    "flaky": (
        4,
        [
            {
                "name": "a",
                "kind": "python",
                "input": {"action": "soak.work", "args": {"failing": 0.6}},
                "retry": {"attempts": 3, "delay": 0.2, "factor": 2},
            },
            {"name": "b", **_python},
        ],
    ),
    "parent": (
        1,
        [
            {
                "name": "children",
                "kind": "flow",
                "input": {"flow": "three", "forEach": [1, 2, 3, 4, 5], "concurrency": 2, "input": {}},
            },
            {"name": "b", **_python},
        ],
    ),
}
"""The relative frequency of each flow, and its steps."""
CHILDREN = 5

_START = """mutation ($flow: ID!, $key: String!, $tag: String!) {
  startRun(input: {flowId: $flow, idempotencyKey: $key, tags: [$tag], input: {}}) {
    ... on StartRunSuccess { run { id } } ... on UserError { code message } } }"""
_BULK = {
    "bulkRetry": '(filter: {statuses: [FAILED], tags: ["retried"]}, strategy: FROM_FAILED_STEP)',
    "bulkCancel": '(filter: {statuses: [QUEUED, RUNNING, PAUSED], tags: ["cancelled"]})',
    "bulkArchive": '(filter: {statuses: [SUCCEEDED], tags: ["archived"]})',
    "bulkUnarchive": '(filter: {tags: ["archived"]})',
}
_TAGS = ("retried", "cancelled", "archived")
_WATCH = """subscription ($after: String) { flowRunStatusChanged(after: $after) { __typename
  ... on FlowRunStatusChanged { cursor runId change { from to } }
  ... on FlowRunUpdated { cursor } ... on CaughtUp { cursor } } }"""
_TRY_AGAIN = {"DATABASE_UNAVAILABLE", "SERVICE_STOPPING"}

Change = tuple[str, str | None, str]
"""A run, and its status before and after."""


class SoakError(Exception):
    """The service gave an invalid answer."""


class Process:
    """A process of the service, and its log."""

    def __init__(self, command: str, settings: dict[str, str], log: Path) -> None:
        self.command = command
        self._settings = settings
        self._log = log
        self._process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "service", self.command]
            return subprocess.Popen(command, cwd=ROOT, env=self._settings, stdout=log, stderr=log)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the process."""
        self._process.send_signal(number)

    async def replace(self, number: signal.Signals) -> None:
        """Ends the process by a signal, and starts another one like it."""
        await self.end(number)
        self._process = self._start()

    async def end(self, number: signal.Signals) -> None:
        """Ends the process by a signal."""
        self.send(number)
        async with asyncio.timeout(60):
            await asyncio.to_thread(self._process.wait)


@dataclass
class Soak:
    """The clients and faults of a soak, and their results."""

    client: httpx.AsyncClient
    ports: Sequence[int]
    processes: Sequence[Process]
    server: PostgresServer | None
    database_url: str
    flows: dict[str, str] = field(default_factory=dict)
    started: dict[str, str] = field(default_factory=dict)
    """Run IDs by idempotency keys."""
    delivered: list[list[Change]] = field(default_factory=list)
    """The status changes that each subscriber received, from the same log position on."""
    seen: Counter[str] = field(default_factory=Counter)
    is_rough: bool = True
    """Whether faults are still injected."""

    async def ask(self, query: str, **variables: Any) -> Any:
        """Returns the data of an answer; repeats the request until there is one."""
        for _ in range(300):
            url = f"http://127.0.0.1:{random.choice(self.ports)}/graphql"
            try:
                response = await self.client.post(url, json={"query": query, "variables": variables})
            except httpx.HTTPError as error:
                self.seen[type(error).__name__] += 1
            else:
                found = response.json()
                codes = {error["extensions"]["code"] for error in found.get("errors", ())}
                if not codes:
                    return found["data"]
                if not codes <= _TRY_AGAIN:
                    raise SoakError(str(found["errors"]))
                self.seen.update(codes)
            await asyncio.sleep(0.2)
        raise SoakError("The service does not come back")

    # Clients

    async def create_flows(self) -> None:
        """Publishes the flows."""
        for name, (_, steps) in _FLOWS.items():
            found = await self.ask(
                """mutation ($name: String!, $definition: JSON) { createFlow(name: $name, definition: $definition) {
                     ... on CreateFlowSuccess { flow { id } } } }""",
                name=name,
                definition={"steps": steps},
            )
            self.flows[name] = found["createFlow"]["flow"]["id"]

    async def start_runs(self, number: int) -> None:
        """Starts runs, some of them twice with one idempotency key, while faults are injected."""
        weights = [weight for weight, _ in _FLOWS.values()]
        count = 0
        while self.is_rough:
            count += 1
            (name,) = random.choices(list(_FLOWS), weights)
            request = {"flow": self.flows[name], "key": f"{number}-{count}", "tag": random.choice(_TAGS)}
            for _ in range(random.choice((1, 1, 1, 2))):
                found = (await self.ask(_START, **request))["startRun"]
                run_id = found["run"]["id"]
                if self.started.setdefault(request["key"], run_id) != run_id:
                    raise SoakError(f"Two runs for {request['key']}")
            await asyncio.sleep(random.random() / 10)

    async def answer(self) -> None:
        """Answers input requests of runs, concurrently with other clients that do the same."""
        while True:
            paused = "{ flowRuns(first: 50, filter: {statuses: [PAUSED]}) { nodes { id pendingInputs { id } } } }"
            runs = (await self.ask(paused))["flowRuns"]["nodes"]
            for run in random.sample(runs, len(runs)):
                for request in run["pendingInputs"]:
                    answering = """mutation ($run: ID!, $request: ID!) {
                      resumeRun(runId: $run, requestId: $request, response: true) { __typename } }"""
                    found = await self.ask(answering, run=run["id"], request=request["id"])
                    self.seen[found["resumeRun"]["__typename"]] += 1
            await asyncio.sleep(0.5)

    async def cancel(self) -> None:
        """Cancels runs that were just started."""
        while self.is_rough:
            await asyncio.sleep(random.random() / 2)
            if self.started:
                run_id = random.choice(list(self.started.values())[-50:])
                found = await self.ask("mutation ($run: ID!) { cancel(runId: $run) { __typename } }", run=run_id)
                self.seen[found["cancel"]["__typename"]] += 1

    async def act_in_bulk(self) -> None:
        """Starts one bulk operation after the other."""
        while self.is_rough:
            await asyncio.sleep(random.random() * 3)
            name, arguments = random.choice(list(_BULK.items()))
            found = await self.ask(f"mutation {{ {name}{arguments} {{ __typename }} }}")
            self.seen[found[name]["__typename"]] += 1

    async def watch(self, ready: asyncio.Event) -> None:
        """Subscribes to all status changes, over one connection after the other."""
        delivered: list[Change] = []
        self.delivered.append(delivered)
        cursor: str | None = None
        while True:
            try:
                # The first connection stays open until its start cursor is known.
                async with asyncio.timeout(random.uniform(0.5, 8) if ready.is_set() and self.is_rough else None):
                    async for event in self._events(cursor):
                        cursor = event["cursor"]
                        if event["__typename"] == "FlowRunStatusChanged":
                            delivered.append((event["runId"], event["change"]["from"], event["change"]["to"]))
                        elif not ready.is_set():
                            ready.set()
                            break
            except (httpx.HTTPError, TimeoutError) as error:
                self.seen[f"cut off by {type(error).__name__}"] += 1
            await asyncio.sleep(0.05)

    async def _events(self, cursor: str | None) -> AsyncIterator[Any]:
        url = f"http://127.0.0.1:{random.choice(self.ports)}/graphql"
        query = {"query": _WATCH, "variables": {"after": cursor}}
        accept = {"accept": "text/event-stream"}
        async with self.client.stream("POST", url, json=query, headers=accept, timeout=None) as response:
            async for line in response.aiter_lines():
                if line.startswith("data:") and line[5:].strip():
                    found = json.loads(line[5:])
                    if found.get("errors"):
                        self.seen[found["errors"][0]["extensions"]["code"]] += 1
                        return
                    yield found["data"]["flowRunStatusChanged"]

    # Faults

    async def make_faults(self) -> None:
        """Injects one fault after the other, while `is_rough`."""
        kinds: list[Callable[[], Awaitable[None]]] = [self._kill, self._kill, self._stop_for_a_while, self._terminate]
        if self.server is not None:
            kinds.append(self._restart_database)
        while self.is_rough:
            await asyncio.sleep(random.uniform(1, 4))
            fault = random.choice(kinds)
            self.seen[f"fault: {fault.__name__}"] += 1
            await fault()

    async def _kill(self) -> None:
        await random.choice(self.processes).replace(signal.SIGKILL)

    async def _terminate(self) -> None:
        await random.choice(self.processes).replace(signal.SIGTERM)

    async def _stop_for_a_while(self) -> None:
        process = random.choice(self.processes)
        process.send(signal.SIGSTOP)
        await asyncio.sleep(1.5 * LEASE if process.command == "worker" else 1)
        process.send(signal.SIGCONT)

    async def _restart_database(self) -> None:
        assert self.server is not None
        await asyncio.to_thread(random.choice((self.server.stop, self.server.crash, self.server.kill)))
        await asyncio.sleep(random.random() * 2)
        await asyncio.to_thread(self.server.start)

    # The end

    async def rest(self) -> None:
        """Waits until no run and no bulk operation is live."""
        live = ", ".join(sorted(LIVE))
        query = f"""{{ flowRuns(filter: {{statuses: [{live}], archived: INCLUDE}}) {{ totalCount }}
                       bulkOperations(first: 1000) {{ nodes {{ finishedAt }} }} }}"""
        deadline = time.monotonic() + REST_SECONDS
        while time.monotonic() < deadline:
            found = await self.ask(query)
            if not found["flowRuns"]["totalCount"] and all(
                each["finishedAt"] for each in found["bulkOperations"]["nodes"]
            ):
                return
            await asyncio.sleep(0.5)

    async def have_received(self, count: int) -> None:
        """Waits until each subscriber has received `count` changes."""
        deadline = time.monotonic() + REST_SECONDS
        while time.monotonic() < deadline and any(len(delivered) < count for delivered in self.delivered):
            await asyncio.sleep(0.5)


@asynccontextmanager
async def service(server: PostgresServer | None, folder: Path) -> AsyncIterator[Soak]:
    """Starts two processes that serve the API, and two workers; their logs are in `folder`."""
    url = server.url() if server is not None else f"sqlite+aiosqlite:///{folder / 'soak.db'}"
    settings = {
        **os.environ,
        "FLOWRUNS_DATABASE_URL": url,
        "FLOWRUNS_BOOTSTRAP_KEY": KEY,
        "FLOWRUNS_ACTIONS": "tests.soak_actions",
        "FLOWRUNS_SEED_DEMO": "false",
        "FLOWRUNS_WORKER_LEASE_SECONDS": str(LEASE),
    }
    await asyncio.to_thread(upgrade, url)
    ports = [free_port(), free_port()]
    async with AsyncExitStack() as stack:
        headers = {"authorization": f"Bearer {KEY}"}
        client = await stack.enter_async_context(httpx.AsyncClient(headers=headers, timeout=20))
        processes: list[Process] = []
        for number, (command, port) in enumerate([("serve", ports[0]), ("api", ports[1]), ("worker", 0)]):
            process = Process(command, settings | {"FLOWRUNS_PORT": str(port)}, folder / f"{number}-{command}.log")
            stack.push_async_callback(process.end, signal.SIGKILL)
            processes.append(process)
        yield Soak(client, ports, processes, server, url)


async def live(soak: Soak, seconds: float, database: Database) -> Sequence[AnyRow]:
    """Runs clients and faults for `seconds`, waits until no run is live, and returns the status changes."""
    await soak.create_flows()
    ready = [asyncio.Event() for _ in range(SUBSCRIBERS)]
    async with asyncio.TaskGroup() as staying:
        tasks = [staying.create_task(soak.watch(each)) for each in ready]
        tasks += [staying.create_task(soak.answer()) for _ in range(2)]
        for each in ready:
            await each.wait()
        async with asyncio.TaskGroup() as busy:
            for number in range(STARTERS):
                busy.create_task(soak.start_runs(number))
            for activity in (soak.cancel, soak.act_in_bulk, soak.make_faults):
                busy.create_task(activity())
            await asyncio.sleep(seconds)
            soak.is_rough = False
        await soak.rest()
        changes = await database.read(logged)
        await soak.have_received(len(changes))
        for task in tasks:
            task.cancel()
    return changes


# Checks

_run, _event, _attempt = table(FlowRun).c, table(RunEvent).c, table(StepAttempt).c


def logged(conn: Connection) -> Sequence[AnyRow]:
    """Returns the status changes of all runs, in the order of the log."""
    query = select(_event.run_id, _event.from_status, _event.to_status).where(_event.kind == RUN_STATUS)
    return conn.execute(query.order_by(_event.seq)).all()


def broken_histories(conn: Connection) -> list[str]:
    """Reports runs whose changes do not join up, or do not lead to the run's status."""
    stands: dict[Any, str] = {}
    broken = []
    for change in logged(conn):
        if stands.get(change.run_id) != change.from_status:
            broken.append(f"{change.run_id} {stands.get(change.run_id)}: {change.from_status} -> {change.to_status}")
        stands[change.run_id] = change.to_status
    found = conn.execute(select(_run.id, _run.status))
    return broken + [f"{row.id} is {row.status}" for row in found if stands.get(row.id) != row.status]


def _found(query: Select[Any]) -> Callable[[Connection], list[str]]:
    return lambda conn: [str(tuple(row)) for row in conn.execute(query)]


_children = table(FlowRun).alias("child")
_bulk = table(BulkOperation).c
_tries = func.count()
_steps = select(_attempt.run_id, _attempt.position).group_by(_attempt.run_id, _attempt.position)
CHECKS: dict[str, Callable[[Connection], list[str]]] = {
    "no run is left under way": _found(select(_run.id, _run.status).where(_run.status.in_(sorted(LIVE)))),
    "the history of a run has no break": broken_histories,
    "no step succeeded twice": _found(_steps.where(_attempt.status == StepStatus.SUCCEEDED).having(_tries > 1)),
    "no try of a step is missing": _found(_steps.having(func.max(_attempt.number) != _tries)),
    "no step of a run that ended is under way": _found(
        select(_run.id)
        .join_from(table(FlowRun), table(StepAttempt), _attempt.run_id == _run.id)
        .where(_run.status.in_(sorted(FINAL)), _attempt.status == StepStatus.RUNNING)
    ),
    "no run that ended is in a queue": _found(
        select(_run.id).where(
            _run.status.in_(sorted(FINAL)), or_(_run.due_at.is_not(None), _run.lease_token.is_not(None))
        )
    ),
    "a key started one run": _found(
        select(_run.idempotency_key)
        .where(_run.idempotency_key.is_not(None))
        .group_by(_run.idempotency_key)
        .having(func.count() > 1)
    ),
    "a parent that succeeded has all its children": _found(
        select(_run.id, func.count())
        .join_from(table(FlowRun), _children, _children.c.parent_run_id == _run.id)
        .where(_run.status == RunStatus.SUCCEEDED, _children.c.retry_of_id.is_(None))
        .group_by(_run.id)
        .having(func.count() != CHILDREN)
    ),
    "a bulk operation dealt with each run once": _found(
        select(_bulk.id, _bulk.status).where(
            # What was lost with its process or the database while it pinned runs has changed nothing.
            _bulk.started_at.is_not(None),
            or_(
                _bulk.processed != _bulk.matched,
                _bulk.processed != _bulk.succeeded + _bulk.skipped + _bulk.failed,
                _bulk.status != BulkStatus.COMPLETED,
            ),
        )
    ),
    "the kept counts of runs are those of the runs": lambda conn: [str(each) for each in differences(conn)],
}


def undelivered(soak: Soak, changes: Sequence[AnyRow]) -> Iterator[str]:
    """Reports differences between the received changes and the log."""
    log = [(ids.encode(IdKind.RUN, row.run_id), row.from_status, row.to_status) for row in changes]
    for number, delivered in enumerate(soak.delivered):
        if delivered != log:
            place = next((n for n, (one, other) in enumerate(zip(delivered, log, strict=False)) if one != other), None)
            yield f"subscriber {number} got {len(delivered)} of {len(log)} changes, which differ from number {place} on"


async def main(dialect: str, seconds: float, seed: int) -> bool:
    """Runs a soak, and returns whether all checks pass."""
    random.seed(seed)
    folder = Path(tempfile.mkdtemp(prefix="flowruns-soak-"))
    print(f"{dialect}, {seconds:g} s, seed {seed}; logs in {folder}")
    with ExitStack() as stack:
        server = stack.enter_context(postgres_server()) if dialect == "postgresql" else None
        async with service(server, folder) as soak:
            database = open_database(soak.database_url)
            changes = await live(soak, seconds, database)
            faults = {what: await database.read(check) for what, check in CHECKS.items()}
            faults["subscribers got all changes, once and in order"] = list(undelivered(soak, changes))
            await database.close()
    print(f"{len(soak.started)} runs started, {len(changes)} changes delivered to {SUBSCRIBERS} subscribers")
    for what, count in sorted(soak.seen.items()):
        print(f"  {count:6} {what}")
    for what, found in faults.items():
        print(f"{'NOT SO' if found else 'ok':6} {what}", *found[:5], sep="\n         " if found else "")
    return not any(faults.values())


if __name__ == "__main__":
    arguments = dict(enumerate(sys.argv))
    is_well = asyncio.run(main(sys.argv[1], float(arguments.get(2, 60)), int(arguments.get(3, random.randrange(1000)))))
    sys.exit(not is_well)
