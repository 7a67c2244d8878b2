"""What tests of secrets share: flows that repeat secrets, and where a secret could be found."""

import asyncio
import io
import logging
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, inspect, make_url, text
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service.log_output import JsonFormatter, LogHandler
from tests.support import secret_actions
from tests.support.databases.binaries import find_binaries


class Echo:
    """A server that repeats what it receives."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], str]] = []
        self.url = ""
        self.is_stuck = asyncio.Event()
        """Set when a request has come to /stuck, which is never answered."""

    async def respond(self, request: Request) -> Response:
        body = (await request.body()).decode()
        self.requests.append((str(request.url), dict(request.headers), body))
        everything = {"url": str(request.url), "headers": dict(request.headers), "body": body}
        if request.url.path == "/stuck":
            self.is_stuck.set()
        if request.url.path in ("/hang", "/stuck"):
            await asyncio.Event().wait()
        return JSONResponse(everything, 500 if request.url.path.endswith("/fail") else 200)


@contextmanager
def process_log() -> Iterator[io.StringIO]:
    """Collects the log of this process as the service writes it."""
    written = io.StringIO()
    handler = LogHandler(JsonFormatter(), written)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield written
    finally:
        root.setLevel(level)
        root.removeHandler(handler)


def all_rows(conn: Connection) -> str:
    """Returns all rows of all tables, as text."""
    tables = inspect(conn).get_table_names()
    return "\n".join(f"{name}: {row}" for name in tables for row in conn.execute(text(f'SELECT * FROM "{name}"')).all())


def found(value: str, where: str | bytes) -> list[str]:
    """Returns the forms of `value` that are in a text."""
    content = where.encode() if isinstance(where, str) else where
    forms = {name: form.strip("\"'b") for name, form in secret_actions.forms(value).items()}
    # Whatever surrounds them, and however often they are escaped, these characters stay as they are.
    forms |= {run: run for run in re.findall(r"[A-Za-z0-9@+:. -]{8,}", value)}
    return [name for name, form in forms.items() if form.encode() in content]


def contents(folder: Path, pattern: str) -> bytes:
    """Returns the contents of all files in a folder that match a pattern."""
    return b"".join(path.read_bytes() for path in folder.glob(pattern) if path.is_file())


def dump(url: str) -> bytes:
    """Returns the dump of a PostgreSQL database."""
    program = next(place for place in (find_binaries() / "pg_dump", Path("/usr/bin/pg_dump")) if place.exists())
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    return subprocess.run([program, "--dbname", plain], check=True, capture_output=True).stdout


def step(name: str, kind: str, value: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "kind": kind, "input": value, "continueOnFailure": True, **more}


def python(name: str, action: str, **more: Any) -> dict[str, Any]:
    return step(name, "python", {"action": action, "args": {"value": "{{ secrets.TOKEN }}"}}, **more)


def leaking_flow(url: str) -> dict[str, Any]:
    """A flow whose steps repeat secrets: they succeed, fail, are retried, time out, and start child runs."""
    basic = 'Basic {{ ("user:" ~ secrets.PASSWORD) | b64encode }}'
    headers = {"authorization": basic, "x-key": "{{ secrets.TOKEN | urlencode }}"}
    call = {"method": "POST", "url": f"{url}/echo", "headers": headers, "query": {"key": "{{ secrets.TOKEN }}"}}
    body = {"token": "{{ secrets.TOKEN }}", "both": ["{{ secrets.TOKEN }} and {{ secrets.PASSWORD }}"]}
    path = f"{url}/{{{{ secrets.TOKEN | urlencode }}}}"
    return {
        "steps": [
            step("call", "http", {**call, "json": body}),
            step("saved", "http", {**call, "json": body, "saveAs": "response.json"}),
            python("repeated", "repeat.return"),
            python("raised", "repeat.raise", retry={"attempts": 2, "delay": 0}),
            python("detailed", "repeat.details"),
            python("program", "repeat.run"),
            step("failed", "http", {**call, "url": f"{url}/fail"}),
            step("hanging", "http", {**call, "url": f"{url}/hang"}, timeout=0.2),
            step("refused", "http", {"url": path, "headers": {"connection": "{{ secrets.TOKEN }}"}}),
            step(
                "child",
                "flow",
                {"flow": "child", "input": {"token": "k={{ secrets.TOKEN }}", "text": "{{ run.input.text }}"}},
            ),
            step("later", "transform", "{{ steps.call.output.body }}"),
        ],
        "output": "{{ steps }}",
    }


CHILD = {
    "steps": [
        {
            "name": "use",
            "kind": "http",
            "input": {
                "method": "POST",
                "url": "",
                "json": {"got": "{{ run.input.token }}", "text": "{{ run.input.text }}"},
            },
        }
    ],
    "output": "{{ run.input }}",
}
