"""HTTP steps that save responses as files, against a real server."""

import asyncio
import gzip
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from db.runs.output import files, logs
from db.runs.output.logs import LogFilter
from db.sql.keyset import Page
from domain import json_codec
from engine.executor import Executor
from engine.file_store import FileStore
from engine.run_output import OutputLimits
from tests.support.processes.listener import answering
from tests.support.worker import WorkerHarness, transform

LIMIT = 2 * 1024 * 1024
LARGE = bytes(range(256)) * 6 * 1024  # This is more than an output may have.
CONTENT_TYPE = {"content-type": "application/pdf"}


async def _large(_: Request) -> Response:
    return Response(LARGE, headers=CONTENT_TYPE)


async def _compressed(_: Request) -> Response:
    return Response(gzip.compress(LARGE), headers=CONTENT_TYPE | {"content-encoding": "gzip"})


async def _refusing(_: Request) -> Response:
    return Response("no", 404)


async def _bomb(_: Request) -> Response:
    return Response(gzip.compress(b"x" * 50 * LIMIT), headers={"content-encoding": "gzip"})


async def _endless(_: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65_536
            await asyncio.sleep(0)  # lets the client disconnect

    return StreamingResponse(pieces())


@pytest.fixture
async def server() -> AsyncIterator[str]:
    """Yields the URL of a server."""
    answers: dict[str, Callable[[Request], Any]] = {
        "/large": _large,
        "/compressed": _compressed,
        "/refusing": _refusing,
        "/bomb": _bomb,
        "/endless": _endless,
    }
    app = Starlette(routes=[Route(path, answer) for path, answer in answers.items()])
    async with answering(app) as url:
        yield url


class FileHarness:
    """Executes steps, and reads their results."""

    def __init__(self, worker: WorkerHarness, folder: Path) -> None:
        self.engine = worker
        self.folder = folder

    async def call(self, url: str, **more: Any) -> tuple[Any, Any]:
        """Execute a run of one call; returns the run and its step."""
        call = {"name": "call", "kind": "http", "input": {"url": url, **more}}
        flow = await self.engine.publish(call, transform("after", "{{ steps.call.output.file.name }}"))
        run_id = await self.engine.start(flow)
        settings = OutputLimits(FileStore(str(self.folder)), max_file_bytes=LIMIT)
        executor = Executor(self.engine.database, self.engine.flows, await self.engine.kinds(), settings)
        await executor.execute(await self.engine.claim())
        return await self.engine.run(run_id), (await self.engine.steps(run_id))[0]

    def stored(self) -> list[bytes]:
        return [path.read_bytes() for path in self.folder.rglob("*") if path.is_file()]


@pytest.fixture
def harness(worker: WorkerHarness, tmp_path: Path) -> FileHarness:
    return FileHarness(worker, tmp_path / "files")


@pytest.mark.parametrize("path", ["/large", "/compressed"])
async def test_response_is_saved_as_a_file(harness: FileHarness, server: str, path: str) -> None:
    run, step = await harness.call(server + path, saveAs="../{{ run.id }}.pdf", query={"token": "secret"})
    assert run.status == "SUCCEEDED"
    output = json_codec.decode(step.output)
    assert set(output) == {"status", "headers", "file"}
    assert output["status"] == 200
    (row,) = (await harness.engine.database.read(files.by_runs, [run.id], {"name", "size", "media_type"}))[run.id]
    name = f"run_{run.id.hex}.pdf"
    assert (row.name, row.size, row.media_type) == (name, len(LARGE), "application/pdf")
    expected = {"name": name, "size": len(LARGE), "mediaType": "application/pdf", "id": f"file_{row.id.hex}"}
    assert output["file"] == expected
    assert json_codec.decode(run.output) == name
    assert harness.stored() == [LARGE]
    (line, *_) = (await harness.engine.database.read(logs.by_runs, [run.id], LogFilter(), Page(10)))[run.id]
    assert re.fullmatch(rf"GET {re.escape(server + path)} responded 200 in \d+ ms", line.message)


@pytest.mark.parametrize("path", ["/endless", "/bomb"])
async def test_endless_response_is_refused(harness: FileHarness, server: str, path: str) -> None:
    run, _ = await harness.call(server + path, saveAs="endless")
    assert run.error_code == "RESPONSE_TOO_LARGE"
    assert harness.stored() == []


async def test_error_response_is_not_saved(harness: FileHarness, server: str) -> None:
    run, _ = await harness.call(f"{server}/refusing", saveAs="page")
    assert run.error_code == "HTTP_STATUS"
    assert harness.stored() == []


async def test_large_response_without_save_as_fails(harness: FileHarness, server: str) -> None:
    run, _ = await harness.call(f"{server}/large", saveAs="{{ '/' }}")
    assert run.error_code == "FILE_NAME_INVALID"
    assert harness.stored() == []
