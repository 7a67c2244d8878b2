"""Log lines and files of steps, through executors on a real database."""

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from db.row_types import FileRow
from db.runs import step_journal
from db.runs.output import files, logs
from db.runs.output.logs import LogFilter
from db.sql.keyset import Page
from engine.executor import Executor
from engine.file_store import FileGoneError, FileStore
from engine.run_output import OutputLimits
from engine.steps import StepContext, ThreadContext
from tests.support.clock import FakeClock
from tests.support.worker import WorkerHarness, python, transform

_COLUMNS = frozenset({"step_name", "attempt", "name", "size", "media_type", "key"})
LIMIT = 3 * 1024 * 1024
MEBIBYTE = b"x" * 1024 * 1024


class OutputHarness:
    """An engine whose steps can store files, and their output."""

    def __init__(self, worker: WorkerHarness, folder: Path) -> None:
        self.engine = worker
        self.folder = folder
        self.store = FileStore(str(folder))

    async def executor(self, *, max_lines: int = 1_000, **actions: Callable[..., Any]) -> Executor:
        settings = OutputLimits(self.store, max_lines, LIMIT)
        return Executor(self.engine.database, self.engine.flows, await self.engine.kinds(**actions), settings)

    async def run(self, *steps: dict[str, Any], max_lines: int = 1_000, **actions: Callable[..., Any]) -> UUID:
        """Execute a run of `steps` in one claim; returns its ID."""
        run_id = await self.engine.start(await self.engine.publish(*steps))
        await (await self.executor(max_lines=max_lines, **actions)).execute(await self.engine.claim())
        return run_id

    async def log_lines(self, run_id: UUID) -> list[tuple[str, str | None, int | None, str]]:
        rows = (await self.engine.database.read(logs.by_runs, [run_id], LogFilter(), Page(1_000))).get(run_id, [])
        return [(row.level, row.step_name, row.attempt, row.message) for row in rows]

    async def messages(self, run_id: UUID) -> list[str]:
        return [message for *_, message in await self.log_lines(run_id)]

    async def files(self, run_id: UUID) -> list[FileRow]:
        return (await self.engine.database.read(files.by_runs, [run_id], _COLUMNS)).get(run_id, [])

    async def content(self, row: FileRow) -> bytes:
        return b"".join([piece async for piece in await self.store.get(row.key, 0, row.size)])

    def stored(self) -> list[Path]:
        """Returns the files in the folder."""
        return [path for path in self.folder.rglob("*") if path.is_file()]


@pytest.fixture
def harness(worker: WorkerHarness, tmp_path: Path) -> OutputHarness:
    return OutputHarness(worker, tmp_path / "files")


async def test_lines_of_steps_are_in_order(harness: OutputHarness) -> None:
    async def first(ctx: StepContext) -> None:
        ctx.log("started", "debug")
        ctx.log("done")

    def second(ctx: ThreadContext) -> None:
        ctx.log("odd \0 \ud800", "WARNING")
        ctx.log("bad", "error")
        ctx.log("what level?", "loud")
        ctx.log("x" * 5_000)

    run_id = await harness.run(python("first"), python("second"), first=first, second=second)
    assert await harness.log_lines(run_id) == [
        ("DEBUG", "first", 1, "started"),
        ("INFO", "first", 1, "done"),
        ("WARNING", "second", 1, "odd \N{REPLACEMENT CHARACTER} ?"),
        ("ERROR", "second", 1, "bad"),
        ("INFO", "second", 1, "what level?"),
        ("INFO", "second", 1, "x" * 4_000),
    ]


async def test_logging_needs_no_extra_transaction(harness: OutputHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Any] = []
    write = harness.engine.database.write

    async def noted(work: Any, *args: Any, **kwargs: Any) -> Any:
        written.append(work)
        return await write(work, *args, **kwargs)

    async def talk(ctx: StepContext) -> None:
        ctx.log("hello")

    flow = await harness.engine.publish(python("talk"), transform("quiet", 1))
    executor = await harness.executor(talk=talk)
    await harness.engine.start(flow)
    claimed = await harness.engine.claim()
    monkeypatch.setattr(harness.engine.database, "write", noted)
    await executor.execute(claimed)
    assert written == [step_journal.advance_batch, step_journal.with_output, step_journal.advance_batch]


async def test_engine_logs_retries_and_suspensions(harness: OutputHarness, fake_clock: FakeClock) -> None:
    async def flaky(ctx: StepContext) -> None:
        ctx.log(f"attempt {ctx.attempt}")
        if ctx.attempt == 1:
            raise ValueError("not yet")

    retry = {"attempts": 2, "delay": 10, "jitter": 0}
    flow = await harness.engine.publish(
        python("flaky", retry=retry),
        transform("left_out", 1, when="{{ false }}"),
        {"name": "wait", "kind": "delay", "input": {"for": 60}},
        transform("broken", "{{ 1 / 0 }}"),
    )
    run_id = await harness.engine.start(flow)
    executor = await harness.executor(flaky=flaky)
    for seconds in (0, 10, 60):
        await fake_clock.advance(seconds)
        await executor.execute(await harness.engine.claim())
    log_lines = await harness.log_lines(run_id)
    assert log_lines[:5] == [
        ("INFO", "flaky", 1, "attempt 1"),
        (
            "WARNING",
            "flaky",
            1,
            "Attempt 1 failed; retrying in 10.0 s. ACTION_FAILED: flaky raised ValueError: not yet",
        ),
        ("INFO", "flaky", 2, "attempt 2"),
        ("INFO", "left_out", 1, "Skipped: its condition is false"),
        ("INFO", "wait", 1, "Waiting until 2026-01-01 00:01:10 UTC"),
    ]
    ((level, step, attempt, message),) = log_lines[5:]
    assert (level, step, attempt) == ("ERROR", "broken", 1)
    assert message.startswith("Attempt 1 failed; the run fails. ")


async def test_output_of_a_long_attempt_is_written_each_second(harness: OutputHarness, fake_clock: FakeClock) -> None:
    released, stored = asyncio.Event(), asyncio.Event()

    async def long(ctx: StepContext) -> None:
        ctx.log("one")
        ctx.log("two")
        await ctx.store_file("a.txt", b"a")
        stored.set()
        await released.wait()
        ctx.log("three")

    fake_clock.watch(harness.engine.database)
    run_id = await harness.engine.start(await harness.engine.publish(python("long")))
    executing = asyncio.create_task((await harness.executor(long=long)).execute(await harness.engine.claim()))
    await fake_clock.happened(stored)
    assert await harness.messages(run_id) == []
    await fake_clock.advance(1)
    assert await harness.messages(run_id) == ["one", "two"]
    assert [row.name for row in await harness.files(run_id)] == ["a.txt"]
    released.set()
    await executing
    assert await harness.messages(run_id) == ["one", "two", "three"]
    assert fake_clock.timers == 0


async def test_stopping_worker_writes_the_lines(harness: OutputHarness) -> None:
    started = asyncio.Event()

    async def hang(ctx: StepContext) -> None:
        ctx.log("hanging")
        started.set()
        await asyncio.Event().wait()

    run_id = await harness.engine.start(await harness.engine.publish(python("hang")))
    executing = asyncio.create_task((await harness.executor(hang=hang)).execute(await harness.engine.claim()))
    await started.wait()
    executing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await executing
    assert await harness.messages(run_id) == ["hanging"]


async def test_worker_without_the_lease_writes_no_output(harness: OutputHarness, fake_clock: FakeClock) -> None:
    released, started = asyncio.Event(), asyncio.Event()

    async def work(ctx: StepContext) -> str:
        ctx.log(f"attempt {ctx.attempt}")
        if ctx.attempt == 1:
            started.set()
            await released.wait()
            ctx.log("from the grave")
            await ctx.store_file("grave.txt", b"boo")
        else:
            await ctx.store_file("new.txt", b"alive")
        return "done"

    run_id = await harness.engine.start(await harness.engine.publish(python("work")))
    executor = await harness.executor(work=work)
    zombie = asyncio.create_task(executor.execute(await harness.engine.claim(timedelta(seconds=0))))
    await started.wait()
    await executor.execute(await harness.engine.claim())
    released.set()
    await zombie
    assert await harness.messages(run_id) == ["The attempt was interrupted: its worker was lost", "attempt 2"]
    assert [(row.name, row.attempt) for row in await harness.files(run_id)] == [("new.txt", 2)]


async def test_abandoned_thread_writes_no_output(harness: OutputHarness, fake_clock: FakeClock) -> None:
    started, released, ended = threading.Event(), threading.Event(), threading.Event()
    errors: list[str] = []

    def slow(ctx: ThreadContext) -> None:
        ctx.log("in time")
        started.set()
        released.wait()
        ctx.log("too late")
        try:
            ctx.store_file("late.txt", b"late")
        except Exception as error:
            errors.append(str(error))
        ended.set()

    fake_clock.watch(harness.engine.database)
    executing = asyncio.create_task(harness.run(python("slow", timeout=5), transform("next", 1), slow=slow))
    await asyncio.to_thread(started.wait)
    await fake_clock.advance(5)
    run_id = await executing
    released.set()
    await asyncio.to_thread(ended.wait)
    assert errors == ["ATTEMPT_OVER: The attempt has ended and cannot store files any more."]
    assert (await harness.messages(run_id))[0] == "in time"
    assert "too late" not in await harness.messages(run_id)
    assert await harness.files(run_id) == []
    assert harness.stored() == []


async def test_log_of_a_run_is_bounded(harness: OutputHarness) -> None:
    async def chatty(ctx: StepContext) -> None:
        for number in range(500):
            ctx.log(str(number))

    run_id = await harness.run(python("chatty"), python("again", "chatty"), max_lines=20, chatty=chatty)
    last = "The log ends here: a run keeps at most 20 lines."
    assert await harness.messages(run_id) == [*map(str, range(20)), last]


async def _stream() -> AsyncIterator[bytes]:
    for _ in range(2):
        yield MEBIBYTE
        await asyncio.sleep(0)
    yield b"end"


def _iterate() -> Iterator[bytes]:
    yield from (MEBIBYTE, MEBIBYTE, b"end")


async def test_files_from_the_event_loop_and_from_threads(harness: OutputHarness, tmp_path: Path) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(MEBIBYTE + b"from a file")

    async def on_loop(ctx: StepContext) -> Any:
        return [
            await ctx.store_file("bytes.csv", b"a,b"),
            await ctx.store_file("path.bin", source, "image/png"),
            await ctx.store_file("stream", _stream()),
            await ctx.store_file("iterator", _iterate()),
            await ctx.store_file("empty", io.BytesIO()),
        ]

    def in_thread(ctx: ThreadContext) -> Any:
        return [
            ctx.store_file("bytes.csv", bytearray(b"a,b")),
            ctx.store_file("path.bin", source, "image/png"),
            ctx.store_file("stream", _stream()),
            ctx.store_file("iterator", _iterate()),
            ctx.store_file("empty", io.BytesIO()),
        ]

    run_id = await harness.run(
        python("loop", "on_loop"), python("thread", "in_thread"), on_loop=on_loop, in_thread=in_thread
    )
    rows = await harness.files(run_id)
    big = 2 * MEBIBYTE + b"end"
    expected = [
        ("bytes.csv", "text/csv", b"a,b"),
        ("path.bin", "image/png", MEBIBYTE + b"from a file"),
        ("stream", "application/octet-stream", big),
        ("iterator", "application/octet-stream", big),
    ]
    for step in ("loop", "thread"):
        stored = [row for row in rows if row.step_name == step]
        assert [(row.name, row.media_type) for row in stored[:4]] == [(name, kind) for name, kind, _ in expected]
        for row, (*_, content) in zip(stored, expected, strict=False):
            assert row.size == len(content)
            assert await harness.content(row) == content
        assert stored[4].size == 0
    assert all(str(run_id.hex) in str(path) for path in harness.stored())
    (first, _) = await harness.engine.steps(run_id)
    assert '"name":"bytes.csv","size":3,"mediaType":"text/csv"' in first.output


async def test_same_name_stored_twice_makes_two_files(harness: OutputHarness) -> None:
    async def twice(ctx: StepContext) -> None:
        await ctx.store_file("a.txt", b"one")
        await ctx.store_file("../b/a.txt", b"two")

    rows = await harness.files(await harness.run(python("twice"), twice=twice))
    assert [(row.name, await harness.content(row)) for row in rows] == [("a.txt", b"one"), ("a.txt", b"two")]


@pytest.mark.parametrize("in_thread", [False, True])
async def test_size_of_a_file_is_bounded(harness: OutputHarness, in_thread: bool) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield MEBIBYTE

    async def on_loop(ctx: StepContext) -> Any:
        return await ctx.store_file("endless", endless())

    def threaded(ctx: ThreadContext) -> Any:
        return ctx.store_file("endless", endless())

    run_id = await harness.run(python("step"), step=threaded if in_thread else on_loop)
    assert (await harness.engine.run(run_id)).error_code == "FILE_TOO_LARGE"
    assert sent == 4
    assert harness.stored() == []


async def test_data_that_cannot_be_stored_fails_the_step(harness: OutputHarness, tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield MEBIBYTE * 2
        raise ValueError("the source broke")

    async def nameless(ctx: StepContext) -> None:
        await ctx.store_file("../..", b"a")

    async def missing(ctx: StepContext) -> None:
        await ctx.store_file("a", tmp_path / "none")

    async def half(ctx: StepContext) -> None:
        await ctx.store_file("a", broken())

    async def text(ctx: StepContext) -> None:
        await ctx.store_file("a", "text")  # type: ignore[arg-type]

    codes = {nameless: "FILE_NAME_INVALID", missing: "FILE_UNREADABLE", half: "ACTION_FAILED", text: "ACTION_FAILED"}
    for action, code in codes.items():
        run_id = await harness.run(python("step"), step=action)
        assert (await harness.engine.run(run_id)).error_code == code
        assert await harness.files(run_id) == []
    assert harness.stored() == []


async def test_number_of_files_is_bounded(harness: OutputHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domain.runs.run_file.MAX_FILES", 5)

    async def many(ctx: StepContext) -> None:
        for _ in range(3):
            await ctx.store_file("a", b"a")

    flow = await harness.engine.publish(python("one", "many"), python("two", "many"))
    run_id = await harness.engine.start(flow)
    await (await harness.executor(many=many)).execute(await harness.engine.claim())
    assert (await harness.engine.run(run_id)).error_code == "TOO_MANY_FILES"
    assert len(await harness.files(run_id)) == 5


async def test_steps_cannot_store_files_without_a_store(harness: OutputHarness) -> None:
    async def store(ctx: StepContext) -> None:
        await ctx.store_file("a", b"a")

    run_id = await harness.engine.execute(await harness.engine.publish(python("store")), store=store)
    assert (await harness.engine.run(run_id)).error_code == "FILES_UNAVAILABLE"


async def test_file_that_disappeared(harness: OutputHarness) -> None:
    async def store(ctx: StepContext) -> None:
        await ctx.store_file("a", b"abc")

    (row,) = await harness.files(await harness.run(python("store"), store=store))
    with pytest.raises(FileGoneError):
        await harness.store.get(row.key, 0, 4)
    harness.stored()[0].unlink()
    with pytest.raises(FileGoneError):
        await harness.store.get(row.key, 0, 3)
