"""Tests of downloads: the run log as text, and run files."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from domain.errors import UnauthenticatedError
from tests.support.app import App, run_app
from tests.support.processes.server import run_server

PAGE = "<script>alert(document.domain)</script>"
Document = dict[str, Any]
SIZE = 20_000_000
"""Bytes of a file that no buffer of a connection holds."""


def step(step_name: str, action: str, **args: Any) -> Document:
    return {"name": step_name, "kind": "python", "input": {"action": f"notes.{action}", "args": args}}


@pytest.fixture
async def output_app(database_url: str, tmp_path: Path) -> AsyncIterator[App]:
    """An application whose steps can log and store files."""
    actions, files = "tests.support.output_actions", str(tmp_path / "files")
    async with run_app(database_url, with_worker=True, actions=actions, files_url=files, max_log_lines=3_000) as served:
        yield served


async def finished(app: App, *steps: Document, select: str = "id") -> Any:
    """Executes a run of these steps, and returns it."""
    flow_id = await app.create_flow({"steps": list(steps)}, f"flow {uuid4()}")
    started = await app.start(flow_id)
    return await app.wait_until_final(started["run"]["id"], f"id status {select}")


async def get(app: App, path: str, key: str | None = None, **headers: str) -> httpx.Response:
    return await app.http.get(path, headers={"authorization": f"Bearer {key or app.keys.viewer}", **headers})


async def stored(app: App, **args: Any) -> Any:
    """Returns a run file that a run stored."""
    run = await finished(app, step("store", "store", **args), select="files { id url name size mediaType }")
    assert run["status"] == "SUCCEEDED"
    return run["files"][0]


async def test_log_is_downloaded_as_text(output_app: App) -> None:
    messages = [["INFO", "hello"], ["ERROR", "bad\n2026-01-01 INFO forged"]]
    run = await finished(output_app, step("talk", "log", messages=messages))
    response = await get(output_app, f"/runs/{run['id']}/log")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.headers["content-disposition"] == f'inline; filename="{run["id"]}.log"'
    assert response.headers["x-content-type-options"] == "nosniff"
    first, second, third = response.text.splitlines()
    assert first.endswith("Z INFO    [talk #1] hello")
    assert second.endswith("Z ERROR   [talk #1] bad")
    assert third == "    2026-01-01 INFO forged"


@pytest.mark.parametrize("count", [1_000, 2_500, 5_000])
async def test_long_log_is_sent_in_pages(output_app: App, count: int) -> None:
    run = await finished(output_app, step("count", "count", to=count))
    log_lines = (await get(output_app, f"/runs/{run['id']}/log")).text.splitlines()
    kept = min(count, 3_000)
    assert [line.rpartition(" ")[2] for line in log_lines[:kept]] == [str(number) for number in range(1, kept + 1)]
    assert [line.partition("Z ")[2] for line in log_lines[kept:]] == (
        ["WARNING The log ends here: a run keeps at most 3,000 lines."] if count > kept else []
    )


async def test_empty_log_is_empty_text(output_app: App) -> None:
    run = await finished(output_app, {"name": "quiet", "kind": "transform", "input": 1})
    assert (await get(output_app, f"/runs/{run['id']}/log")).text == ""


async def test_file_is_downloaded(output_app: App) -> None:
    file = await stored(output_app, name="../übersicht.html", text=PAGE)
    assert file["name"] == "übersicht.html"
    assert file["mediaType"] == "text/html"
    assert file["size"] == len(PAGE)
    response = await get(output_app, file["url"])
    assert response.status_code == 200
    assert response.text == PAGE
    headers = response.headers
    assert headers["content-type"] == "text/html"
    assert headers["content-length"] == str(len(PAGE))
    assert headers["content-disposition"] == "attachment; filename*=UTF-8''%C3%BCbersicht.html"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("sandbox;")


async def test_head_request_has_headers_of_file(output_app: App, tmp_path: Path) -> None:
    file = await stored(output_app, name="a.txt", text="0123456789")
    headers = {"authorization": f"Bearer {output_app.keys.viewer}"}
    response = await output_app.http.head(file["url"], headers=headers)
    assert (response.status_code, response.content, response.headers["content-length"]) == (200, b"", "10")


@pytest.mark.parametrize(
    ("byte_range", "status", "text"),
    [
        ("bytes=2-4", 206, "234"),
        ("bytes=7-", 206, "789"),
        ("bytes=-2", 206, "89"),
        ("bytes=8-100", 206, "89"),
        ("bytes=0-", 200, "0123456789"),
        ("bytes=-100", 200, "0123456789"),
        ("bytes=1-2,4-5", 200, "0123456789"),
        ("bytes=-", 200, "0123456789"),
        ("lines=1-2", 200, "0123456789"),
        ("bytes=10-", 416, None),
        ("bytes=5-4", 416, None),
        ("bytes=-0", 416, None),
    ],
)
@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_range_request_returns_part_of_file(
    output_app: App, byte_range: str, status: int, text: str | None
) -> None:
    file = await stored(output_app, name="digits.txt", text="0123456789")
    response = await get(output_app, file["url"], range=byte_range)
    assert response.status_code == status
    if text is not None:
        assert response.text == text
        assert response.headers["content-length"] == str(len(text))
    if status == 206:
        start = "0123456789".index(response.text)
        assert response.headers["content-range"] == f"bytes {start}-{start + len(response.text) - 1}/10"


async def test_empty_file_is_downloaded(output_app: App) -> None:
    file = await stored(output_app, name="empty", text="")
    response = await get(output_app, file["url"])
    assert (response.status_code, response.content) == (200, b"")


async def test_download_requires_key_of_project(output_app: App) -> None:
    file = await stored(output_app, name="a.txt", text="secret")
    run = await finished(output_app, step("talk", "log", messages=[["INFO", "secret"]]))
    keys = output_app.keys
    for path, code in ((file["url"], "FILE_NOT_FOUND"), (f"/runs/{run['id']}/log", "RUN_NOT_FOUND")):
        response = await output_app.http.get(path)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert (await get(output_app, path, "wrong")).status_code == 401
        foreign = await get(output_app, path, keys.other_admin)
        assert foreign.status_code == 404
        assert foreign.json()["errors"][0]["extensions"]["code"] == code
        assert "secret" in (await get(output_app, path, keys.all_projects)).text
        cookie = {"cookie": f"flow_runs_session={keys.viewer}"}
        assert "secret" in (await output_app.http.get(path, headers=cookie)).text


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_unknown_ids_are_not_found(output_app: App) -> None:
    unknown = "0" * 32
    for path, status, code in (
        (f"/runs/run_{unknown}/log", 404, "RUN_NOT_FOUND"),
        (f"/files/file_{unknown}", 404, "FILE_NOT_FOUND"),
        (f"/runs/flow_{unknown}/log", 400, "INVALID_ID"),
        ("/files/passwd", 400, "INVALID_ID"),
    ):
        response = await get(output_app, path)
        assert response.status_code == status
        assert response.json()["errors"][0]["extensions"]["code"] == code
    assert (await get(output_app, "/files/..%2f..%2fetc%2fpasswd")).status_code == 404


async def test_file_missing_from_store_is_reported(output_app: App, tmp_path: Path) -> None:
    file = await stored(output_app, name="a.txt", text="gone")
    (kept,) = (path for path in (tmp_path / "files").rglob("*") if path.is_file())
    kept.unlink()
    response = await get(output_app, file["url"])
    assert response.status_code == 410
    (error,) = response.json()["errors"]
    assert error["extensions"]["code"] == "FILE_GONE"
    assert error["message"] == "The file is no longer in the file store."


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_unavailable_store_is_reported(output_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    file = await stored(output_app, name="a.txt", text="text")

    async def away(*_: Any, **__: Any) -> None:
        raise PermissionError("secret detail")

    monkeypatch.setattr("obstore.get_async", away)
    response = await get(output_app, file["url"])
    assert response.status_code == 503
    (error,) = response.json()["errors"]
    assert error["extensions"]["code"] == "FILE_STORE_UNAVAILABLE"
    assert "secret detail" not in response.text
    ready = (await output_app.http.get("/readyz")).text
    assert ready == "ready. The file store fails: the file store is unavailable.\n"


async def test_revoked_key_ends_its_download(database_url: str, tmp_path: Path) -> None:
    actions, files = "tests.support.output_actions", str(tmp_path / "files")
    async with run_server(database_url, with_worker=True, actions=actions, files_url=files) as served:
        app = served.app
        file = await stored(app, name="large.txt", text="x", times=SIZE)
        made = await app.query(
            """mutation { it: createApiKey(name: "to be revoked", role: VIEWER) {
            ... on CreateApiKeySuccess { secret apiKey { id } } } }"""
        )
        secret, key_id = made["it"]["secret"], made["it"]["apiKey"]["id"]
        reader, writer = await asyncio.open_connection(*served.url.removeprefix("http://").split(":"), limit=1_024)
        request = f"GET {file['url']} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {secret}\r\n\r\n"
        writer.write(request.encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        # The client does not read on, so most of the file waits in the service.
        ((connection,),) = served.endpoint.connections._connections.values()
        close, closed = connection.close, asyncio.Event()

        def note(error: UnauthenticatedError) -> None:
            close(error)
            closed.set()

        connection.close = note
        await app.query("mutation($id: ID!) { revokeApiKey(id: $id) { __typename } }", {"id": key_id})
        await asyncio.wait_for(closed.wait(), 10)
        received = 0
        with suppress(ConnectionResetError):
            while part := await reader.read(65_536):
                received += len(part)
        assert received < SIZE
        writer.close()
