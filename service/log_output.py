"""The process's log: each line is an event with fields, formatted for people or as JSON.

Code logs an event's name and its fields: `_logger.info("run resumed", extra={"run_id": run_id, "worker": name})`. This
module adds the fields of the line's request and run (domain/log_context.py). A value can contain anything that clients
send, so everything that could end a line or move a terminal's cursor is escaped. Values of secrets that this process
uses are masked, wherever a library or an action repeats them.
"""

import json
import logging
import math
import sys
import traceback
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from typing import TextIO

from domain.log_context import current_log_fields
from engine.secrets.masks import mask_everywhere


class LogFormat(StrEnum):
    """The format of log lines."""

    CONSOLE = "console"
    JSON = "json"


_RECORD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}
"""Attributes of a log record that are not fields of the event; uvicorn sets `color_message`."""
_JSON_KEYS = frozenset({"time", "level", "logger", "message", "exception"})
"""Keys that every JSON line may have. A field with one of these names gets an underscore at its end."""
_TRACEBACK_INDENT = "    "
"""Prefix of each line of a traceback, so that a message in it cannot be mistaken for a log line."""


class ContextFilter(logging.Filter):
    """Adds the fields of the present request and run to a record. Fields of the event itself take precedence."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Returns True: every record is written."""
        for name, value in current_log_fields().items():
            if name not in vars(record):
                setattr(record, name, value)
        return True


class ConsoleFormatter(logging.Formatter):
    """Formats `2026-11-28 15:03:45.123Z INFO engine.executor: run resumed run_id=run_… worker=…`."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns one line, followed by the indented traceback if there is one."""
        time = _time(record).isoformat(sep=" ", timespec="milliseconds").replace("+00:00", "Z")
        fields = "".join(f" {_escaped(name)}={_console_value(value)}" for name, value in _fields(record).items())
        line = f"{time} {record.levelname} {record.name}: {_escaped(_message(record))}{fields}"
        trace = _traceback(record)
        written = [line, *(_TRACEBACK_INDENT + _escaped(part) for part in trace.split("\n") if part)]
        return mask_everywhere("\n".join(written))


class JsonFormatter(logging.Formatter):
    """Formats an object with `time` (ISO 8601, UTC), `level`, `logger`, `message`, `exception` and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns one line of ASCII."""
        entry: dict[str, object] = {
            "time": _time(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
        }
        for name, value in _fields(record).items():
            entry[f"{name}_" if name in _JSON_KEYS else name] = _json_value(value)
        if trace := _traceback(record):
            entry["exception"] = trace
        # Each text by itself first: JSON would escape what is in it once more.
        masked = {name: mask_everywhere(value) if isinstance(value, str) else value for name, value in entry.items()}
        return mask_everywhere(json.dumps(masked))


class LogHandler(logging.StreamHandler[TextIO]):
    """Writes log lines to standard error, or to another stream."""

    def __init__(self, formatter: logging.Formatter, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self.addFilter(ContextFilter())
        self.setFormatter(formatter)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - a method of the base class
        """Says that a line could not be written, and why. The base class would print the line's values, unmasked."""
        with suppress(Exception):
            kind = type(sys.exception()).__name__
            sys.stderr.write(f"A log line of {record.pathname}:{record.lineno} could not be written: {kind}\n")


_OWN_PACKAGES = ("domain", "db", "engine", "live", "resolvers", "schema", "service")
_FORMATTERS: dict[LogFormat, type[logging.Formatter]] = {
    LogFormat.CONSOLE: ConsoleFormatter,
    LogFormat.JSON: JsonFormatter,
}


def configure_logging(level: str, log_format: LogFormat, actions: Iterable[str] = ()) -> None:
    """Sends the log lines of this process and its libraries to standard error.

    At the level DEBUG, libraries log what they send and receive, with cookies, keys and parameters. So only the service
    itself and the modules of `actions` log at this level.
    """
    least = logging.getLevelNamesMapping()[level]
    logging.basicConfig(level=max(least, logging.INFO), handlers=[LogHandler(_FORMATTERS[log_format]())], force=True)
    for name in (*_OWN_PACKAGES, *(module.partition(".")[0] for module in actions)):
        logging.getLogger(name).setLevel(least)
    # httpx logs each request of a step, which the run's own log has too. Alembic lists its settings.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage().strip()
    except Exception:  # A library passed wrong arguments, or arguments without a text.
        return str(record.msg)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _RECORD_ATTRIBUTES}


def _traceback(record: logging.LogRecord) -> str:
    parts = traceback.format_exception(*record.exc_info) if record.exc_info else []
    if record.exc_text and not parts:
        parts = [record.exc_text]
    if record.stack_info:
        parts.append(record.stack_info)
    return "".join(parts).rstrip("\n")


def _console_value(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value) if isinstance(value, bool | None) else _text(value)
    is_plain = text != "" and text.isprintable() and not any(character in text for character in ' "=\\')
    return text if is_plain else f'"{_escaped(text, quoted=True)}"'


def _json_value(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    # A subclass, such as an enumeration, may change its JSON.
    return value if type(value) in (str, int, float, bool) or value is None else _text(value)


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception as error:
        return f"({type(value).__name__} whose text cannot be made: {type(error).__name__})"


def _escaped(text: str, *, quoted: bool = False) -> str:
    """Returns `text` without control characters, line ends, bidirectional marks and lone surrogates."""
    if quoted:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
