"""What steps log and store, through executors on a real database."""

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from db.runs import files, logs, step_journal
from db.runs.logs import LogFilter
from db.sql.keyset import Page
from db.sql.rows import AnyRow
from engine.executor import Executor
from engine.file_store import FileGoneError, FileStore
from engine.run_output import OutputLimits
from engine.steps import StepContext, ThreadContext
from tests.support.clock import FakeClock
from tests.support.worker import WorkerHarness, python, transform

_COLUMNS = frozenset({"step_name", "attempt", "name", "size", "media_type", "key"})
LIMIT = 3 * 1024 * 1024
MEBIBYTE = b"x" * 1024 * 1024


class Notes:
    """An engine whose steps can store files, and what they noted."""

    def __init__(self, worker: WorkerHarness, folder: Path) -> None:
        self.engine = worker
        self.folder = folder
        self.store = FileStore(str(folder))

    async def executor(self, *, max_lines: int = 1_000, **actions: Callable[..., Any]) -> Executor:
        settings = OutputLimits(self.store, max_lines, LIMIT)
        return Executor(self.engine.database, self.engine.flows, await self.engine.runners(**actions), settings)

    async def run(self, *steps: dict[str, Any], max_lines: int = 1_000, **actions: Callable[..., Any]) -> UUID:
        """A run of `steps`, worked off in one claim."""
        run_id = await self.engine.start(await self.engine.publish(*steps))
        await (await self.executor(max_lines=max_lines, **actions)).execute(await self.engine.claim())
        return run_id

    async def lines(self, run_id: UUID) -> list[tuple[str, str | None, int | None, str]]:
        rows = (await self.engine.database.read(logs.by_runs, [run_id], LogFilter(), Page(1_000))).get(run_id, [])
        return [(row.level, row.step_name, row.attempt, row.message) for row in rows]

    async def messages(self, run_id: UUID) -> list[str]:
        return [message for *_, message in await self.lines(run_id)]

    async def files(self, run_id: UUID) -> list[AnyRow]:
        return (await self.engine.database.read(files.by_runs, [run_id], _COLUMNS)).get(run_id, [])

    async def content(self, row: AnyRow) -> bytes:
        return b"".join([piece async for piece in await self.store.get(row.key, 0, row.size)])

    def stored(self) -> list[Path]:
        """What is in the folder."""
        return [path for path in self.folder.rglob("*") if path.is_file()]


@pytest.fixture
def notes(worker: WorkerHarness, tmp_path: Path) -> Notes:
    return Notes(worker, tmp_path / "files")


async def test_lines_of_steps_in_order(notes: Notes) -> None:
    async def first(ctx: StepContext) -> None:
        ctx.log("begun", "debug")
        ctx.log("done")

    def second(ctx: ThreadContext) -> None:
        ctx.log("odd \0 \ud800", "WARNING")
        ctx.log("bad", "error")
        ctx.log("what level?", "loud")
        ctx.log("x" * 5_000)

    run_id = await notes.run(python("first"), python("second"), first=first, second=second)
    assert await notes.lines(run_id) == [
        ("DEBUG", "first", 1, "begun"),
        ("INFO", "first", 1, "done"),
        ("WARNING", "second", 1, "odd \N{REPLACEMENT CHARACTER} ?"),
        ("ERROR", "second", 1, "bad"),
        ("INFO", "second", 1, "what level?"),
        ("INFO", "second", 1, "x" * 4_000),
    ]


async def test_a_run_that_logs_costs_no_transaction_more(notes: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Any] = []
    write = notes.engine.database.write

    async def noted(work: Any, *args: Any, **kwargs: Any) -> Any:
        written.append(work)
        return await write(work, *args, **kwargs)

    async def talk(ctx: StepContext) -> None:
        ctx.log("hello")

    flow = await notes.engine.publish(python("talk"), transform("quiet", 1))
    executor = await notes.executor(talk=talk)
    await notes.engine.start(flow)
    claimed = await notes.engine.claim()
    monkeypatch.setattr(notes.engine.database, "write", noted)
    await executor.execute(claimed)
    assert written == [step_journal.advance_batch, step_journal.with_output, step_journal.advance_batch]


async def test_the_engine_tells_of_retries_and_pauses(notes: Notes, fake_clock: FakeClock) -> None:
    async def flaky(ctx: StepContext) -> None:
        ctx.log(f"try {ctx.attempt}")
        if ctx.attempt == 1:
            raise ValueError("not yet")

    retry = {"attempts": 2, "delay": 10, "jitter": 0}
    flow = await notes.engine.publish(
        python("flaky", retry=retry),
        transform("left_out", 1, when="{{ false }}"),
        {"name": "wait", "kind": "delay", "input": {"for": 60}},
        transform("broken", "{{ 1 / 0 }}"),
    )
    run_id = await notes.engine.start(flow)
    executor = await notes.executor(flaky=flaky)
    for seconds in (0, 10, 60):
        await fake_clock.advance(seconds)
        await executor.execute(await notes.engine.claim())
    lines = await notes.lines(run_id)
    assert lines[:5] == [
        ("INFO", "flaky", 1, "try 1"),
        (
            "WARNING",
            "flaky",
            1,
            "Attempt 1 failed; tried again in 10.0 s. ACTION_FAILED: flaky raised ValueError: not yet",
        ),
        ("INFO", "flaky", 2, "try 2"),
        ("INFO", "left_out", 1, "Skipped: its condition does not hold"),
        ("INFO", "wait", 1, "Waiting until 2026-01-01 00:01:10 UTC"),
    ]
    ((level, step, attempt, message),) = lines[5:]
    assert (level, step, attempt) == ("ERROR", "broken", 1)
    assert message.startswith("Attempt 1 failed; the run fails. ")


async def test_a_long_step_is_written_each_second(notes: Notes, fake_clock: FakeClock) -> None:
    go_on, stored = asyncio.Event(), asyncio.Event()

    async def long(ctx: StepContext) -> None:
        ctx.log("one")
        ctx.log("two")
        await ctx.store_file("a.txt", b"a")
        stored.set()
        await go_on.wait()
        ctx.log("three")

    fake_clock.watch(notes.engine.database)
    run_id = await notes.engine.start(await notes.engine.publish(python("long")))
    executing = asyncio.create_task((await notes.executor(long=long)).execute(await notes.engine.claim()))
    await fake_clock.happened(stored)
    assert await notes.messages(run_id) == []
    await fake_clock.advance(1)
    assert await notes.messages(run_id) == ["one", "two"]
    assert [row.name for row in await notes.files(run_id)] == ["a.txt"]
    go_on.set()
    await executing
    assert await notes.messages(run_id) == ["one", "two", "three"]
    assert fake_clock.timers == 0


async def test_a_worker_that_stops_keeps_the_lines(notes: Notes) -> None:
    begun = asyncio.Event()

    async def hang(ctx: StepContext) -> None:
        ctx.log("hanging")
        begun.set()
        await asyncio.Event().wait()

    run_id = await notes.engine.start(await notes.engine.publish(python("hang")))
    executing = asyncio.create_task((await notes.executor(hang=hang)).execute(await notes.engine.claim()))
    await begun.wait()
    executing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await executing
    assert await notes.messages(run_id) == ["hanging"]


async def test_a_zombie_notes_nothing(notes: Notes, fake_clock: FakeClock) -> None:
    go_on, begun = asyncio.Event(), asyncio.Event()

    async def work(ctx: StepContext) -> str:
        ctx.log(f"try {ctx.attempt}")
        if ctx.attempt == 1:
            begun.set()
            await go_on.wait()
            ctx.log("from the grave")
            await ctx.store_file("grave.txt", b"boo")
        else:
            await ctx.store_file("new.txt", b"alive")
        return "done"

    run_id = await notes.engine.start(await notes.engine.publish(python("work")))
    executor = await notes.executor(work=work)
    zombie = asyncio.create_task(executor.execute(await notes.engine.claim(timedelta(seconds=0))))
    await begun.wait()
    await executor.execute(await notes.engine.claim())
    go_on.set()
    await zombie
    assert await notes.messages(run_id) == ["The attempt was cut short: its worker was lost", "try 2"]
    assert [(row.name, row.attempt) for row in await notes.files(run_id)] == [("new.txt", 2)]


async def test_a_thread_left_behind_notes_nothing(notes: Notes, fake_clock: FakeClock) -> None:
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    errors: list[str] = []

    def slow(ctx: ThreadContext) -> None:
        ctx.log("in time")
        begun.set()
        go_on.wait()
        ctx.log("too late")
        try:
            ctx.store_file("late.txt", b"late")
        except Exception as error:
            errors.append(str(error))
        ended.set()

    fake_clock.watch(notes.engine.database)
    executing = asyncio.create_task(notes.run(python("slow", timeout=5), transform("next", 1), slow=slow))
    await asyncio.to_thread(begun.wait)
    await fake_clock.advance(5)
    run_id = await executing
    go_on.set()
    await asyncio.to_thread(ended.wait)
    assert errors == ["ATTEMPT_OVER: The attempt is over: it can store nothing any more."]
    assert (await notes.messages(run_id))[0] == "in time"
    assert "too late" not in await notes.messages(run_id)
    assert await notes.files(run_id) == []
    assert notes.stored() == []


async def test_the_log_of_a_run_is_bounded(notes: Notes) -> None:
    async def chatty(ctx: StepContext) -> None:
        for number in range(500):
            ctx.log(str(number))

    run_id = await notes.run(python("chatty"), python("again", "chatty"), max_lines=20, chatty=chatty)
    last = "The log ends here: a run keeps at most 20 lines."
    assert await notes.messages(run_id) == [*map(str, range(20)), last]


async def _stream() -> AsyncIterator[bytes]:
    for _ in range(2):
        yield MEBIBYTE
        await asyncio.sleep(0)
    yield b"end"


def _iterate() -> Iterator[bytes]:
    yield from (MEBIBYTE, MEBIBYTE, b"end")


async def test_files_from_the_event_loop_and_from_threads(notes: Notes, tmp_path: Path) -> None:
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

    run_id = await notes.run(
        python("loop", "on_loop"), python("thread", "in_thread"), on_loop=on_loop, in_thread=in_thread
    )
    rows = await notes.files(run_id)
    big = 2 * MEBIBYTE + b"end"
    expected = [
        ("bytes.csv", "text/csv", b"a,b"),
        ("path.bin", "image/png", MEBIBYTE + b"from a file"),
        ("stream", "application/octet-stream", big),
        ("iterator", "application/octet-stream", big),
    ]
    for step in ("loop", "thread"):
        found = [row for row in rows if row.step_name == step]
        assert [(row.name, row.media_type) for row in found[:4]] == [(name, kind) for name, kind, _ in expected]
        for row, (*_, content) in zip(found, expected, strict=False):
            assert row.size == len(content)
            assert await notes.content(row) == content
        assert found[4].size == 0
    assert all(str(run_id.hex) in str(path) for path in notes.stored())
    (first, _) = await notes.engine.steps(run_id)
    assert '"name":"bytes.csv","size":3,"mediaType":"text/csv"' in first.output


async def test_a_name_stored_twice_makes_two_files(notes: Notes) -> None:
    async def twice(ctx: StepContext) -> None:
        await ctx.store_file("a.txt", b"one")
        await ctx.store_file("../b/a.txt", b"two")

    rows = await notes.files(await notes.run(python("twice"), twice=twice))
    assert [(row.name, await notes.content(row)) for row in rows] == [("a.txt", b"one"), ("a.txt", b"two")]


@pytest.mark.parametrize("in_thread", [False, True])
async def test_a_file_is_bounded(notes: Notes, in_thread: bool) -> None:
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

    run_id = await notes.run(python("step"), step=threaded if in_thread else on_loop)
    assert (await notes.engine.run(run_id)).error_code == "FILE_TOO_LARGE"
    assert sent == 4
    assert notes.stored() == []


async def test_what_cannot_be_stored_fails_the_step(notes: Notes, tmp_path: Path) -> None:
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
        run_id = await notes.run(python("step"), step=action)
        assert (await notes.engine.run(run_id)).error_code == code
        assert await notes.files(run_id) == []
    assert notes.stored() == []


async def test_a_run_has_so_many_files(notes: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domain.run_file.MAX_FILES", 5)

    async def many(ctx: StepContext) -> None:
        for _ in range(3):
            await ctx.store_file("a", b"a")

    flow = await notes.engine.publish(python("one", "many"), python("two", "many"))
    run_id = await notes.engine.start(flow)
    await (await notes.executor(many=many)).execute(await notes.engine.claim())
    assert (await notes.engine.run(run_id)).error_code == "TOO_MANY_FILES"
    assert len(await notes.files(run_id)) == 5


async def test_without_a_store_no_step_stores_files(notes: Notes) -> None:
    async def store(ctx: StepContext) -> None:
        await ctx.store_file("a", b"a")

    run_id = await notes.engine.execute(await notes.engine.publish(python("store")), store=store)
    assert (await notes.engine.run(run_id)).error_code == "FILES_UNAVAILABLE"


async def test_a_file_that_is_gone(notes: Notes) -> None:
    async def store(ctx: StepContext) -> None:
        await ctx.store_file("a", b"abc")

    (row,) = await notes.files(await notes.run(python("store"), store=store))
    with pytest.raises(FileGoneError):
        await notes.store.get(row.key, 0, 4)
    notes.stored()[0].unlink()
    with pytest.raises(FileGoneError):
        await notes.store.get(row.key, 0, 3)
