"""Makes the dumps of this folder: python -m tests.operations.make_dump CHECKOUT PYTHON DATABASE_URL FOLDER.

CHECKOUT is a checkout of an earlier commit, PYTHON an interpreter with the packages of its lock, and DATABASE_URL an
empty database. The API and the worker of that commit fill it with all that a database can hold, the worker is killed in
the middle of a run, and the API starts some more runs. FOLDER gets what the API then said, as `expected.json`; the
database is dumped with `sqlite3 FILE .dump`, or with `pg_dump --inserts --no-owner --no-privileges`.
"""

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.operations.harness import KEY

PORT = 8765
RUNS = """{ flowRuns(first: 100, filter: {archived: INCLUDE}) { nodes { id status environment tags metadata input output
    createdAt finishedAt archivedAt attempt externalId failedStepName error { code message } flow { name }
    project { name } retryOf { id } parentRun { id } rootRun { id } files { name size }
    statusHistory { from to message } steps { name status output error { code } attempts { number status } }
    logs(first: 50) { nodes { number stepName message } } pendingInputs { id stepName title } } } }"""
OTHERS = """{ flows(first: 100) { nodes { id name publishedVersion { number definition } schedules { id cron enabled }
    webhooks { id name } maxConcurrentRuns project { name quotaRuns retentionDays } } }
    bulkOperations { nodes { id kind status succeeded } } }"""
FLOWS: dict[str, Any] = {
    "greet": {"steps": [{"name": "hello", "kind": "transform", "input": "Hello, {{ run.input.name }}!"}]},
    "fetch": {
        "steps": [
            {"name": "fetch", "kind": "http", "input": {"url": "{{ run.input.url }}", "saveAs": "page.txt"}},
        ]
    },
    "slow": {
        "steps": [
            {"name": "call", "kind": "http", "input": {"url": "{{ run.input.url }}"}, "continueOnFailure": True},
            {"name": "after", "kind": "transform", "input": "went on"},
        ]
    },
    "broken": {
        "steps": [
            {"name": "first", "kind": "transform", "input": 1},
            {"name": "second", "kind": "transform", "input": "{{ run.input.missing.part }}", "retry": {"attempts": 2}},
        ]
    },
    "pause": {"steps": [{"name": "wait", "kind": "delay", "input": {"for": 90}}]},
    "ask": {
        "steps": [
            {"name": "ask", "kind": "humanInput", "input": {"title": "Go on?", "schema": {"type": "object"}}},
            {"name": "end", "kind": "transform", "input": "{{ steps.ask.output }}"},
        ]
    },
    "parent": {
        "steps": [
            {
                "name": "children",
                "kind": "flow",
                "input": {"flow": "greet", "forEach": ["a", "b"], "input": {"name": "{{ item }}"}},
            },
            {"name": "asks", "kind": "flow", "input": {"flow": "ask"}},
        ]
    },
}


class _Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/slow":
            time.sleep(3_600)
        self.send_response(200)
        self.send_header("content-type", "text/plain")
        self.end_headers()
        self.wfile.write(b"a page")

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


def ask(text: str, **variables: Any) -> Any:
    headers = {"authorization": f"Bearer {KEY}"}
    body = {"query": text, "variables": variables}
    answer = httpx.post(f"http://127.0.0.1:{PORT}/graphql", json=body, headers=headers, timeout=60).json()
    assert "errors" not in answer, answer
    return answer["data"]


def start(flow: str, wait_ms: int | None = None, **values: Any) -> Any:
    text = """mutation($input: StartRunInput!) { startRun(input: $input) { ... on StartRunSuccess { run { id status } }
        ... on UserError { code message } } }"""
    wait = {"waitMs": wait_ms} if wait_ms else {}
    return ask(text, input={"flowId": flow, **wait, **values})["startRun"]["run"]


def until(condition: Any) -> None:
    while not condition():
        time.sleep(0.1)


def fill(flows: dict[str, str], site: str) -> None:
    """Fills the database, while a worker runs."""
    for number in range(5):
        start(flows["greet"], 5_000, input={"name": f"n{number}"}, tags=["vip", f"t{number}"], metadata={"n": number})
    start(flows["fetch"], 5_000, input={"url": f"{site}/page"}, externalId="order-1", source="shop")
    failed = start(flows["broken"], 20_000, input={"missing": None})
    ask("mutation($r: ID!) { retry(runId: $r, strategy: FROM_FAILED_STEP) { __typename } }", r=failed["id"])
    cancelled = start(flows["ask"], input={"n": 1})
    ask("mutation($r: ID!) { cancel(runId: $r) { __typename } }", r=cancelled["id"])
    start(flows["ask"], input={"n": 2}, idempotencyKey="once")
    start(flows["pause"])
    start(flows["parent"])
    start(flows["slow"], input={"url": f"{site}/slow"})
    archive = """mutation($f: FlowRunFilter!, $dry: Boolean!) {
        bulkArchive(filter: $f, dryRun: $dry, waitMs: 5000) { __typename } }"""
    ask(archive, f={"tags": ["t0"]}, dry=False)
    ask(archive, f={"tags": ["vip"]}, dry=True)
    ask('mutation($f: ID!) { createWebhook(flowId: $f, name: "shop") { __typename } }', f=flows["greet"])
    ask(
        'mutation($f: ID!) { createSchedule(input: {flowId: $f, cron: "0 0 1 1 *", name: "yearly"}) { __typename } }',
        f=flows["greet"],
    )
    until(lambda: {run["flow"]["name"]: run["status"] for run in runs()}.get("slow") == "RUNNING")
    until(lambda: sum(len(run["pendingInputs"]) for run in runs()) == 2)
    until(lambda: [run["status"] for run in runs() if run["flow"]["name"] == "pause"] == ["PAUSED"])
    until(lambda: not [run for run in runs() if run["flow"]["name"] == "broken" and run["finishedAt"] is None])


def runs() -> list[Any]:
    found: list[Any] = ask(RUNS)["flowRuns"]["nodes"]
    return found


def main(checkout: str, python: str, url: str, folder: str) -> None:
    """Makes a database and what it holds."""
    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Site)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    environment = {
        "PATH": os.environ["PATH"],
        "FLOWRUNS_DATABASE_URL": url,
        "FLOWRUNS_PORT": str(PORT),
        "FLOWRUNS_BOOTSTRAP_KEY": KEY,
        "FLOWRUNS_FILES_URL": str(Path(folder) / "files"),
        "FLOWRUNS_SEED_DEMO": "false",
        "FLOWRUNS_HTTP_ALLOW_PRIVATE": "true",
    }

    @contextmanager
    def service(command: str, by: signal.Signals) -> Any:
        process = subprocess.Popen([python, "-m", "service", command], cwd=checkout, env=environment)
        try:
            yield process
        finally:
            process.send_signal(by)
            process.wait()

    def answers() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{PORT}/readyz").is_success
        except httpx.HTTPError:
            return False

    subprocess.run([python, "-m", "service", "migrate"], cwd=checkout, env=environment, check=True)
    with service("api", signal.SIGTERM):
        until(answers)
        text = """mutation($n: String!, $d: JSON) { createFlow(name: $n, definition: $d) {
            ... on CreateFlowSuccess { flow { id } } ... on DefinitionInvalid { problems { path message } } } }"""
        flows = {
            name: ask(text, n=name, d=definition)["createFlow"]["flow"]["id"] for name, definition in FLOWS.items()
        }
        with service("worker", signal.SIGKILL):
            fill(flows, f"http://127.0.0.1:{site.server_address[1]}")
        for number in range(3):
            start(flows["greet"], input={"name": f"queued {number}"}, tags=["queued"])
        expected = {"runs": runs(), **ask(OTHERS)}
    (Path(folder) / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
