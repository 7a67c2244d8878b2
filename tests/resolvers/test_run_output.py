"""Tests of logs and files of runs through the API."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from db.models import FlowRun
from db.models.types import table
from db.runs.output import files, logs
from db.runs.output.logs import Line
from domain import ids
from domain.ids import IdKind
from domain.runs.run_log import LogLevel
from domain.time import clock
from engine.worker.maintenance import purge_step_data
from tests.support import factory
from tests.support.app import App, statements

LEVELS = list(LogLevel)
LINE_COUNT = 8


async def runs_with_output(app: App, count: int = 1) -> list[str]:
    """Creates runs with log lines 1 to 8 and two files each; levels alternate, and so do the steps a and b."""
    published = await app.database.write(
        lambda uow: factory.make_flow(uow, ids.decode(IdKind.PROJECT, app.project), f"flow {ids.new_uuid()}")
    )
    keys = await app.database.write(factory.make_runs, published, [{"ran_ms": 0, "depth": 0}] * count)
    for key in keys:
        await app.database.write(logs.append, key, [_line(number) for number in range(1, LINE_COUNT + 1)], 100)
        await app.database.write(files.create, [_file(key, name) for name in ("one.txt", "two.txt")])
    return [ids.encode(IdKind.RUN, key) for key in keys]


def _line(number: int) -> Line:
    return Line(clock.now(), LEVELS[(number - 1) % 4], "ab"[number % 2], 1, f"Line {number}")


def _file(run_id: UUID, name: str) -> dict[str, Any]:
    key = ids.new_uuid()
    columns = {"name": name, "size": 2**40, "media_type": "text/plain", "step_name": "a", "attempt": 1, "key": key.hex}
    return {"id": key, "run_id": run_id, "created_at": clock.now(), **columns}


LOGS = """query($id: ID!, $first: Int, $after: String, $last: Int, $before: String, $stepName: String,
                $level: LogLevel, $search: String) {
    flowRun(id: $id) { logs(first: $first, after: $after, last: $last, before: $before, stepName: $stepName,
                            level: $level, search: $search) {
        totalCount nodes { number at level stepName attempt message }
        edges { cursor node { number } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } } }"""


async def page(app: App, run_id: str, **variables: Any) -> Any:
    return (await app.query(LOGS, {"id": run_id, **variables}))["flowRun"]["logs"]


def numbers(found: Any) -> list[int]:
    return [node["number"] for node in found["nodes"]]


async def test_log_is_paged(idle_app: App) -> None:
    (run_id,) = await runs_with_output(idle_app)
    found = await page(idle_app, run_id)
    assert numbers(found) == list(range(1, LINE_COUNT + 1))
    assert found["nodes"][2]["message"] == "Line 3"
    assert found["nodes"][2]["level"] == "WARNING"
    seen: list[int] = []
    after = None
    while True:
        found = await page(idle_app, run_id, first=3, after=after)
        assert found["pageInfo"]["hasPreviousPage"] is bool(seen)
        seen += numbers(found)
        after = found["pageInfo"]["endCursor"]
        if not found["pageInfo"]["hasNextPage"]:
            break
    assert seen == list(range(1, LINE_COUNT + 1))
    last = await page(idle_app, run_id, last=3)
    assert numbers(last) == [6, 7, 8]
    before = await page(idle_app, run_id, last=3, before=last["pageInfo"]["startCursor"])
    assert numbers(before) == [3, 4, 5]
    assert before["pageInfo"]["hasNextPage"]
    assert before["pageInfo"]["hasPreviousPage"]


async def test_reader_continues_at_the_end_of_the_log(idle_app: App) -> None:
    (run_id,) = await runs_with_output(idle_app)
    end = (await page(idle_app, run_id, last=1))["pageInfo"]["endCursor"]
    assert numbers(await page(idle_app, run_id, after=end)) == []
    await idle_app.database.write(logs.append, ids.decode(IdKind.RUN, run_id), [_line(9)], 100)
    assert numbers(await page(idle_app, run_id, after=end)) == [9]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"level": "DEBUG"}, [1, 2, 3, 4, 5, 6, 7, 8]),
        ({"level": "WARNING"}, [3, 4, 7, 8]),
        ({"level": "ERROR"}, [4, 8]),
        ({"stepName": "a"}, [2, 4, 6, 8]),
        ({"stepName": "none"}, []),
        ({"search": "lINE 7"}, [7]),
        ({"search": "%"}, []),
        ({"level": "WARNING", "stepName": "b", "search": "line"}, [3, 7]),
    ],
)
async def test_log_filters_select_lines(idle_app: App, arguments: dict[str, str], expected: list[int]) -> None:
    (run_id,) = await runs_with_output(idle_app)
    found = await page(idle_app, run_id, **arguments)
    assert numbers(found) == expected
    assert found["totalCount"] == len(expected)
    first = await page(idle_app, run_id, first=1, **arguments)
    assert numbers(first) == expected[:1]
    assert first["pageInfo"]["hasNextPage"] is (len(expected) > 1)


async def test_invalid_log_arguments_are_refused(idle_app: App) -> None:
    run_id, other = await runs_with_output(idle_app, 2)
    cursor = (await page(idle_app, other))["pageInfo"]["endCursor"]
    for variables, code in (
        ({"first": -1}, "INVALID_ARGUMENT"),
        ({"first": 1, "last": 1}, "INVALID_ARGUMENT"),
        ({"search": "a" * 1_001}, "INVALID_ARGUMENT"),
        ({"search": "\0"}, "INVALID_ARGUMENT"),
        ({"stepName": "\0"}, "INVALID_ARGUMENT"),
        ({"after": cursor}, "INVALID_CURSOR"),
        ({"after": "nonsense"}, "INVALID_CURSOR"),
    ):
        assert await idle_app.error_code(LOGS, {"id": run_id, **variables}) == code
    runs = "{ flowRuns { edges { cursor } } }"
    (first, _) = (await idle_app.query(runs))["flowRuns"]["edges"]
    assert await idle_app.error_code(LOGS, {"id": run_id, "after": first["cursor"]}) == "INVALID_CURSOR"


async def test_statement_count_does_not_grow_with_runs(idle_app: App) -> None:
    await runs_with_output(idle_app, 3)
    text = """{ flowRuns { nodes { files { id url }
        logs(first: 2, level: INFO) { totalCount nodes { message } pageInfo { hasNextPage hasPreviousPage } } } } }"""
    with statements() as few:
        await idle_app.query(text)
    await runs_with_output(idle_app, 10)
    with statements() as many:
        data = await idle_app.query(text)
    assert len(many.of_resolvers) == len(few.of_resolvers) == 4
    for node in data["flowRuns"]["nodes"]:
        assert [line["message"] for line in node["logs"]["nodes"]] == ["Line 2", "Line 3"]
        assert node["logs"]["totalCount"] == 6
        assert node["logs"]["pageInfo"] == {"hasNextPage": True, "hasPreviousPage": False}
        assert len(node["files"]) == 2


async def test_file_inserted_twice_exists_once(idle_app: App) -> None:
    (run_id,) = await runs_with_output(idle_app)
    row = _file(ids.decode(IdKind.RUN, run_id), "three.txt")
    await idle_app.database.write(files.create, [row])
    await idle_app.database.write(files.create, [row, _file(row["run_id"], "four.txt")])
    found = await idle_app.query("query($id: ID!) { flowRun(id: $id) { files { name } } }", {"id": run_id})
    names = [file["name"] for file in found["flowRun"]["files"]]
    assert names == ["one.txt", "two.txt", "three.txt", "four.txt"]


async def test_files_are_listed_with_urls(idle_app: App) -> None:
    (run_id,) = await runs_with_output(idle_app)
    text = """query($id: ID!) { flowRun(id: $id) {
        files { id name size mediaType url stepName attempt createdAt } } }"""
    one, two = (await idle_app.query(text, {"id": run_id}))["flowRun"]["files"]
    assert (one["name"], two["name"]) == ("one.txt", "two.txt")
    assert one["size"] == 2**40
    assert one["url"] == f"/files/{one['id']}"
    node = "query($id: ID!) { node(id: $id) { ... on RunFile { name } } }"
    assert (await idle_app.query(node, {"id": one["id"]}))["node"] == {"name": "one.txt"}
    assert (await idle_app.query(node, {"id": one["id"]}, key=idle_app.keys.other_admin))["node"] is None


PURGED = """query($id: ID!) { flowRun(id: $id) { status stepData stepsCount steps { name } files { name }
    logs { totalCount nodes { message } } statusHistory { to }
    retryability { strategy allowed reason } } }"""
RETRY = """mutation($id: ID!) { result: retry(runId: $id, strategy: FROM_FAILED_STEP) {
    __typename ... on UserError { code } } }"""


async def test_purged_run_has_no_lines_no_files_and_no_retry_from_failed_step(idle_app: App) -> None:
    (run_id,) = await runs_with_output(idle_app)
    key = ids.decode(IdKind.RUN, run_id)
    ended = {"status": "FAILED", "finished_at": clock.now() - timedelta(days=9), "due_at": None}
    change = update(table(FlowRun)).where(table(FlowRun).c.id == key).values(ended)
    await idle_app.database.write(lambda uow: uow.conn.execute(change))
    (file,) = await idle_app.database.read(lambda conn: files.by_runs(conn, [key], {"id"})[key][:1])
    assert await purge_step_data(idle_app.database, 7) == 1
    run = (await idle_app.query(PURGED, {"id": run_id}))["flowRun"]
    assert run.pop("statusHistory") is not None
    assert run.pop("stepsCount") is not None
    assert {each["strategy"]: (each["allowed"], each["reason"]) for each in run.pop("retryability")} == {
        "FROM_FAILED_STEP": (False, "STEP_DATA_EXPIRED"),
        "ON_LATEST_VERSION": (True, None),
        "FROM_FAILED_STEP_ON_LATEST_VERSION": (False, "STEP_DATA_EXPIRED"),
        "FROM_STEP": (False, "STEP_DATA_EXPIRED"),
    }
    empty = {"totalCount": 0, "nodes": []}
    assert run == {"status": "FAILED", "stepData": "PURGED", "steps": [], "files": [], "logs": empty}
    refused = (await idle_app.query(RETRY, {"id": run_id}))["result"]
    assert refused == {"__typename": "StepDataExpired", "code": "STEP_DATA_EXPIRED"}
    headers = {"authorization": f"Bearer {idle_app.keys.viewer}"}
    log = await idle_app.http.get(f"/runs/{run_id}/log", headers=headers)
    assert (log.status_code, log.text) == (200, "")
    gone = await idle_app.http.get(f"/files/{ids.encode(IdKind.FILE, file.id)}", headers=headers)
    assert gone.status_code == 404
