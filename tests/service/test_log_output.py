"""Tests of the process log: fields, both formats, exceptions, and values that try to forge a line."""

import io
import json
import logging
import re
from collections.abc import Callable, Iterator
from enum import StrEnum

import pytest

from domain.log_context import log_fields
from service.log_output import _OWN_PACKAGES, ConsoleFormatter, JsonFormatter, LogFormat, LogHandler, configure_logging

HOSTILE = 'x\n2026-11-28 15:03:45.123Z INFO service: forged\r\x1b[2K\x00\u2028\x85\u202e"\ud800 a=b\\'

Log = Callable[..., str]


class Color(StrEnum):
    RED = "red"


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def writer(formatter: logging.Formatter) -> Log:
    """Returns a function that logs an event and returns what was written."""
    stream = io.StringIO()
    logger = logging.Logger("tests.log_output")  # no other handler sees its records
    logger.addHandler(LogHandler(formatter, stream))

    def log(message: str, *args: object, level: int = logging.INFO, **options: object) -> str:
        logger.log(level, message, *args, **options)  # type: ignore[arg-type]
        written = stream.getvalue()
        stream.seek(0)
        stream.truncate()
        return written

    return log


@pytest.fixture
def console() -> Log:
    return writer(ConsoleFormatter())


@pytest.fixture
def as_json() -> Log:
    return writer(JsonFormatter())


def fail(message: str) -> None:
    raise ValueError(message)


def test_console_line_has_time_level_logger_event_and_fields(console: Log) -> None:
    line = console("run resumed", extra={"run_id": "run_1", "worker": "host 7", "attempt": 2, "ok": True, "by": None})
    time = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z"
    fields = 'run_id=run_1 worker="host 7" attempt=2 ok=true by=null'
    assert re.fullmatch(rf"{time} INFO tests\.log_output: run resumed {re.escape(fields)}\n", line)


def test_json_line_has_time_level_logger_event_and_fields(as_json: Log) -> None:
    line = as_json("run resumed", level=logging.WARNING, extra={"run_id": "run_1", "attempt": 2, "path": ["a", 0]})
    assert line.count("\n") == 1
    entry = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry.pop("time"))
    assert entry == {
        "level": "WARNING",
        "logger": "tests.log_output",
        "message": "run resumed",
        "run_id": "run_1",
        "attempt": 2,
        "path": ["a", 0],
    }


def test_arguments_of_library_messages_are_filled_in(console: Log, as_json: Log) -> None:
    assert "Started process [7]" in console("Started process [%d]", 7, extra={"color_message": "\x1b[36m%d"})
    assert json.loads(as_json("Started process [%d]", 7))["message"] == "Started process [7]"
    assert "broken %d" in console("broken %d", "x")


def test_line_has_fields_of_context(console: Log, as_json: Log) -> None:
    with log_fields(request_id="r1", run_id="run_1"):
        assert console("lease lost").endswith("lease lost request_id=r1 run_id=run_1\n")
        entry = json.loads(as_json("lease lost", extra={"run_id": "run_2"}))
    assert (entry["request_id"], entry["run_id"]) == ("r1", "run_2")
    assert "request_id" not in console("lease lost")


@pytest.mark.parametrize(
    ("value", "text", "in_json"),
    [
        (Color.RED, "red", "red"),
        (1.5, "1.5", 1.5),
        (float("nan"), "nan", "nan"),
        (2**70, str(2**70), 2**70),
        ("", '""', ""),
        ("Grüße", "Grüße", "Grüße"),
        ({"a": 1}, "\"{'a': 1}\"", "{'a': 1}"),
        (Unprintable(), '"(Unprintable whose text cannot be made: RuntimeError)"', None),
    ],
)
def test_field_values_of_every_type_are_written(
    console: Log, as_json: Log, value: object, text: str, in_json: object
) -> None:
    assert console("event", extra={"value": value}).endswith(f" value={text}\n")
    entry = json.loads(as_json("event", extra={"value": value}))
    assert entry["value"] == in_json if in_json is not None else "cannot be made" in entry["value"]


def test_field_cannot_replace_standard_json_keys(as_json: Log) -> None:
    entry = json.loads(as_json("event", extra={"level": "x", "time": "y", "logger": "z", "exception": "w"}))
    assert (entry["level"], entry["logger"]) == ("INFO", "tests.log_output")
    assert (entry["level_"], entry["time_"], entry["logger_"], entry["exception_"]) == ("x", "y", "z", "w")


@pytest.mark.parametrize("where", ["value", "name", "message", "argument"])
def test_hostile_text_cannot_forge_a_line(console: Log, as_json: Log, where: str) -> None:
    def log(write: Log) -> str:
        match where:
            case "value":
                return write("event", extra={"value": HOSTILE})
            case "name":
                return write("event", extra={HOSTILE: 1})
            case "message":
                return write(HOSTILE)
        return write("said %s", HOSTILE)

    line = log(console)
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    line = log(as_json)
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    assert line.isascii()
    json.loads(line)


def test_hostile_value_survives_in_json(as_json: Log) -> None:
    assert json.loads(as_json("event", extra={"value": HOSTILE}))["value"] == HOSTILE


def test_quoted_value_cannot_end_its_quotes(console: Log) -> None:
    assert console("event", extra={"value": 'a" run_id=run_2 \\'}).endswith(' value="a\\" run_id=run_2 \\\\"\n')


def test_traceback_follows_line_of_exception(console: Log, as_json: Log) -> None:
    try:
        fail(HOSTILE)
    except ValueError:
        log_lines = console("step failed", exc_info=True).rstrip("\n").split("\n")
        entry = json.loads(as_json("step failed", exc_info=True))
    assert "step failed" in log_lines[0]
    assert "Traceback" in log_lines[1]
    assert all(line.startswith("    ") for line in log_lines[1:])
    assert all(line.isprintable() for line in log_lines)
    assert any("ValueError" in line for line in log_lines)
    assert entry["message"] == "step failed"
    assert entry["exception"].startswith("Traceback")
    assert "ValueError: x" in entry["exception"]


def test_stack_is_written_like_traceback(console: Log, as_json: Log) -> None:
    assert "\n    Stack (most recent call last):\n" in console("here", stack_info=True)
    assert "Stack" in json.loads(as_json("here", stack_info=True))["exception"]


@pytest.fixture
def _root_logger() -> Iterator[None]:
    """Restores the handlers and level of the root logger."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in (*_OWN_PACKAGES, "shop"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.mark.usefixtures("_root_logger")
@pytest.mark.parametrize("log_format", LogFormat)
def test_configured_log_is_written_to_standard_error(log_format: LogFormat, capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", log_format)
    logger = logging.getLogger("uvicorn.error")
    logger.debug("hidden")
    logger.info("ready", extra={"port": 80})
    out, err = capfd.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    if log_format is LogFormat.JSON:
        assert json.loads(line)["port"] == 80
    else:
        assert line.endswith("INFO uvicorn.error: ready port=80")


@pytest.mark.usefixtures("_root_logger")
def test_libraries_log_no_details_of_what_they_send(capfd: pytest.CaptureFixture[str]) -> None:
    """Among them are the cookies and keys of requests."""
    configure_logging("DEBUG", LogFormat.CONSOLE, ["shop.actions"])
    for name in ("uvicorn.error", "httpcore.http11", "aiosqlite", "engine.executor", "shop.other"):
        logging.getLogger(name).debug("a detail")
        logging.getLogger(name).info("an event")
    log_lines = [line.split()[2:4] for line in capfd.readouterr().err.splitlines()]
    assert [name for level, name in log_lines if level == "DEBUG"] == ["engine.executor:", "shop.other:"]
    assert len([level for level, _ in log_lines if level == "INFO"]) == 5


def test_a_line_that_cannot_be_written_is_reported_without_its_values(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(JsonFormatter):
        def format(self, record: logging.LogRecord) -> str:
            raise RuntimeError(f"no line for {record.args}")

    assert writer(Broken())("got %s", "a secret", extra={"token": "another secret"}) == ""
    reported = capsys.readouterr().err
    assert reported.startswith("A log line of ")
    assert reported.endswith("could not be written: RuntimeError\n")
    assert "secret" not in reported
