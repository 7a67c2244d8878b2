"""Python steps: actions that behave, and actions that do not; loading of actions."""

import asyncio
import inspect
import logging
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from engine import actions
from engine.actions import Action, ActionLoadError, ActionRegistry, PermanentError
from engine.errors import StepError
from engine.steps import KINDS, StepContext, StepKind, StepSettings
from engine.steps.threads import BlockingCalls

CONTEXT = StepContext("run_1", "work", 2, "run_1:work")
TENANT: ContextVar[str] = ContextVar("TENANT", default="none")
release = threading.Event()


class Occupancy:
    """Counts the calls that are inside an action."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.inside = 0
        self.most = 0

    def __enter__(self) -> None:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.inside -= 1


blocked = Occupancy()


@pytest.fixture(autouse=True)
def released() -> Iterator[None]:
    release.clear()
    blocked.most = 0
    yield
    release.set()
    join_actions()


def join_actions() -> None:
    """Wait until no thread of an action is running."""
    for thread in threading.enumerate():
        if thread.name == "python-action":
            thread.join(10)


def add(a: int, b: int = 1) -> int:
    return a + b


async def add_later(a: int, b: int = 1) -> int:
    await asyncio.sleep(0)
    return a + b


def describe(ctx: StepContext, prefix: str) -> str:
    ctx.log(f"describing {prefix}", "warning")
    return f"{prefix} {ctx.run_id} {ctx.step} {ctx.attempt} {ctx.idempotency_key}"


def where() -> dict[str, Any]:
    thread = threading.current_thread()
    return {"main": thread is threading.main_thread(), "daemon": thread.daemon, "tenant": TENANT.get()}


def block() -> str:
    with blocked:
        release.wait(30)
    return "late"


def fail() -> None:
    raise ValueError("bad luck")


async def fail_later() -> None:
    raise ValueError("bad luck")


def fail_for_good() -> None:
    raise PermanentError("no such customer")


def fail_my_way() -> None:
    raise StepError("CARD_DECLINED", "The card was declined.", retryable=False, details={"card": 1})


def leave() -> None:
    sys.exit(3)


async def leave_later() -> None:
    sys.exit(3)


def interrupt() -> None:
    raise KeyboardInterrupt


async def interrupt_later() -> None:
    raise KeyboardInterrupt


def stop_iteration() -> None:
    raise StopIteration(1)


async def cancel_itself() -> None:
    raise asyncio.CancelledError


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


def fail_unprintably() -> None:
    raise UnprintableError


def not_json() -> object:
    return {"when": {1, 2}}


def circular() -> list[Any]:
    endless: list[Any] = []
    endless.append(endless)
    return endless


def too_much() -> str:
    return "x" * 2_000_000


def almost_json() -> Any:
    return {"at": datetime(2026, 1, 2, tzinfo=UTC), "pair": (1, 2)}


def spoil(items: list[int]) -> int:
    items.clear()
    return len(items)


def registry() -> ActionRegistry:
    functions: list[Callable[..., Any]] = [
        add, add_later, describe, where, block, fail, fail_later, fail_for_good, fail_my_way, leave, leave_later,
        interrupt, interrupt_later, stop_iteration, cancel_itself, fail_unprintably, not_json, circular, too_much,
        almost_json, spoil,
    ]  # fmt: skip
    return ActionRegistry(
        [Action(function.__name__, function, __name__, inspect.signature(function)) for function in functions]
    )


@pytest.fixture
async def python() -> AsyncIterator[Mapping[str, StepKind]]:
    async with KINDS.open(StepSettings(actions=registry(), action_threads=2)) as kinds:
        yield kinds


def call(kinds: Mapping[str, StepKind], action: str, **args: Any) -> Awaitable[Any]:
    return kinds["python"].run({"action": action, "args": args}, CONTEXT)


async def failure(call: Awaitable[Any]) -> StepError:
    with pytest.raises(StepError) as caught:
        await call
    return caught.value


@pytest.mark.parametrize("action", ["add", "add_later"])
async def test_action_returns_its_output(python: Mapping[str, StepKind], action: str) -> None:
    assert await call(python, action, a=2) == 3
    assert await call(python, action, a=2, b=5) == 7


async def test_plain_functions_run_in_daemon_threads_with_the_context_variables_of_the_run(
    python: Mapping[str, StepKind],
) -> None:
    TENANT.set("blue")
    assert await call(python, "where") == {"main": False, "daemon": True, "tenant": "blue"}


async def test_ctx_is_passed_and_cannot_be_set_by_flows(
    python: Mapping[str, StepKind], caplog: pytest.LogCaptureFixture
) -> None:
    assert await call(python, "describe", prefix="p") == "p run_1 work 2 run_1:work"
    (record,) = caplog.records
    assert (record.name, record.levelno, record.message) == ("engine.step", logging.WARNING, "step log line")
    assert vars(record).items() >= {"run_id": "run_1", "step": "work", "attempt": 2, "line": "describing p"}.items()
    error = await failure(call(python, "describe", prefix="p", ctx=1))
    assert (error.code, error.retryable) == ("ACTION_ARGUMENTS", False)


async def test_output_is_converted_to_json(python: Mapping[str, StepKind]) -> None:
    assert await call(python, "almost_json") == {"at": "2026-01-02T00:00:00+00:00", "pair": [1, 2]}


async def test_action_may_change_its_arguments(python: Mapping[str, StepKind]) -> None:
    items = [1, 2]
    assert await call(python, "spoil", items=items) == 0
    assert items == [1, 2]


@pytest.mark.parametrize(
    ("action", "args", "code", "retryable", "message"),
    [
        ("nope", {}, "ACTION_UNKNOWN", False, "This worker has no action 'nope'."),
        ("add", {}, "ACTION_ARGUMENTS", False, "add: missing a required argument: 'a'"),
        ("add", {"a": 1, "c": 1}, "ACTION_ARGUMENTS", False, "add: got an unexpected keyword argument 'c'"),
        ("fail", {}, "ACTION_FAILED", True, "fail raised ValueError: bad luck"),
        ("fail_later", {}, "ACTION_FAILED", True, "fail_later raised ValueError: bad luck"),
        ("fail_for_good", {}, "ACTION_FAILED", False, "fail_for_good raised PermanentError: no such customer"),
        ("fail_my_way", {}, "CARD_DECLINED", False, "The card was declined."),
        ("fail_unprintably", {}, "ACTION_FAILED", True, "(the message is unavailable: str() of the exception failed)"),
        ("stop_iteration", {}, "ACTION_FAILED", True, "StopIteration"),
        ("leave", {}, "ACTION_EXITED", True, "leave raised SystemExit: 3"),
        ("leave_later", {}, "ACTION_EXITED", True, "leave_later raised SystemExit: 3"),
        ("interrupt", {}, "ACTION_EXITED", True, "KeyboardInterrupt"),
        ("interrupt_later", {}, "ACTION_EXITED", True, "KeyboardInterrupt"),
        ("cancel_itself", {}, "ACTION_EXITED", True, "CancelledError"),
        ("not_json", {}, "OUTPUT_NOT_JSON", False, "The result of the action is not JSON"),
        ("circular", {}, "OUTPUT_NOT_JSON", False, "not JSON"),
        ("too_much", {}, "OUTPUT_TOO_LARGE", False, "2,000,002 bytes"),
    ],
)
async def test_failures_have_codes_and_messages(
    python: Mapping[str, StepKind], action: str, args: dict[str, Any], code: str, retryable: bool, message: str
) -> None:
    error = await failure(call(python, action, **args))
    assert (error.code, error.retryable) == (code, retryable)
    assert message in error.message
    assert "Traceback" not in error.message
    assert await call(python, "add", a=1) == 2


async def test_stack_traces_go_to_the_service_log(
    python: Mapping[str, StepKind], caplog: pytest.LogCaptureFixture
) -> None:
    await failure(call(python, "fail"))
    assert "bad luck" in str(caplog.records[-1].exc_info)
    assert [(record.message, vars(record)["action"]) for record in caplog.records] == [("action failed", "fail")]


@pytest.mark.parametrize(
    "rendered", [{"action": 5}, {"args": {}}, {"action": "add", "args": [1]}, [], {"action": "add", "x": 1}, object()]
)
async def test_invalid_input(python: Mapping[str, StepKind], rendered: Any) -> None:
    error = await failure(python["python"].run(rendered, CONTEXT))
    assert (error.code, error.retryable) == ("INPUT_INVALID", False)


async def abandon(python: Mapping[str, StepKind]) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await call(python, "block")


async def test_blocked_action_frees_its_slot_until_too_many_are_abandoned(python: Mapping[str, StepKind]) -> None:
    await abandon(python)
    assert await call(python, "add", a=1) == 2
    await abandon(python)
    error = await failure(call(python, "add", a=1))
    assert (error.code, error.retryable) == ("WORKER_BUSY", True)
    release.set()
    async with asyncio.timeout(10):
        while not await is_free_again(python):  # noqa: ASYNC110 - a thread gives no signal when it ends
            await asyncio.sleep(0.01)


async def is_free_again(python: Mapping[str, StepKind]) -> bool:
    try:
        return bool(await call(python, "add", a=1) == 2)
    except StepError:
        return False


async def test_actions_wait_for_a_slot(python: Mapping[str, StepKind]) -> None:
    calls = [asyncio.ensure_future(call(python, "block")) for _ in range(3)]
    while blocked.inside < 2:  # noqa: ASYNC110 - a thread gives no signal when it starts
        await asyncio.sleep(0)
    release.set()
    assert await asyncio.gather(*calls) == ["late"] * 3
    assert blocked.most == 2


async def test_thread_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    calls = BlockingCalls(1)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert (await failure(calls.run(lambda: 1))).code == "WORKER_BUSY"
    monkeypatch.undo()
    assert await calls.run(lambda: 1) == 1
    assert calls.abandoned == 0


def test_event_loop_may_be_closed_when_the_action_returns() -> None:
    async def give_up() -> None:
        async with KINDS.open(StepSettings(actions=registry())) as kinds:
            await abandon(kinds)

    asyncio.run(give_up())
    release.set()
    join_actions()


async def test_coroutine_can_be_cancelled(python: Mapping[str, StepKind]) -> None:
    async def wait() -> None:
        await asyncio.sleep(60)

    action = Action("wait", wait, __name__, inspect.signature(wait))
    async with KINDS.open(StepSettings(actions=ActionRegistry([action]))) as kinds:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await call(kinds, "wait")


async def test_transform_returns_its_input() -> None:
    async with KINDS.open(StepSettings()) as kinds:
        assert await kinds["transform"].run({"a": [1]}, CONTEXT) == {"a": [1]}
        assert list(kinds) == list(KINDS) == ["http", "python", "transform", "delay", "humanInput", "flow"]
        assert len(KINDS) == 6


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write(name: str, *source: str) -> None:
        path = tmp_path / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(["from engine.actions import action", *source]))

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_load(modules: Callable[..., None]) -> None:
    modules("shop.__init__", "from shop import stock")
    modules("shop.stock", "@action", "def reserve(n): return n", "@action('shop.free')", "async def free(n): return n")
    modules("mail_actions", "import shop", "@action", "def send(): pass")
    loaded = actions.load(["mail_actions"])
    assert list(loaded) == ["send"]
    loaded = actions.load(["shop", "mail_actions", "shop"])
    assert sorted(loaded) == ["reserve", "send", "shop.free"]
    assert len(loaded) == 3
    assert loaded["shop.free"].is_coroutine
    assert loaded["reserve"].function(4) == 4
    assert not actions.load([])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (["1 / 0"], "'broken_{}' cannot be imported: ZeroDivisionError"),
        (["import sys; sys.exit(1)"], "cannot be imported: SystemExit"),
        (["def"], "cannot be imported: SyntaxError"),
        ([], "There is no action in"),
        (["@action", "def a(): pass", "@action('a')", "def b(): pass"], "Two actions are called 'a': in broken_"),
    ],
)
def test_unusable_modules(
    modules: Callable[..., None], request: pytest.FixtureRequest, source: list[str], message: str
) -> None:
    # Each case has its own name: the actions that a module declares are registered for the whole process.
    name = f"broken_{abs(hash(request.node.name))}"
    modules(name, *source)
    with pytest.raises(ActionLoadError) as caught:
        actions.load([name])
    assert message.replace("{}", name.removeprefix("broken_")) in str(caught.value)


def test_missing_module() -> None:
    with pytest.raises(ActionLoadError, match="'no_such_module_here' cannot be imported: ModuleNotFoundError"):
        actions.load(["no_such_module_here"])
