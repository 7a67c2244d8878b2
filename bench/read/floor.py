"""The floor: endpoints written by hand for the three reads, without GraphQL: driver, rows, orjson.

`python -m bench.read.floor DATABASE_URL PORT` serves `/a`, `/b` and `/c?id=…`. They return the same bytes as the
service.
"""

import re
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, cast
from uuid import UUID

import aiosqlite
import asyncpg
import orjson
import uvloop
from sqlalchemy import make_url
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bench.read import http_server
from bench.read.data import PROJECT_ID

Rows = Iterable[Mapping[str, Any]]

_RUN = """id, status, environment, trigger_method, created_at, started_at, finished_at, updated_at, duration_ms,
    attempt, failed_step_name, external_id, tags, metadata, output"""
_PAGE = "project_id = $1 AND flow_id = $2 AND archived_at IS NULL ORDER BY id DESC LIMIT $3"
_LIST = f"SELECT {_RUN} FROM flow_run WHERE {_PAGE}"
_JOINED = """SELECT r.id, r.status, r.created_at, r.duration_ms, f.id AS flow_id, f.name AS flow_name
    FROM flow_run r JOIN flow f ON f.id = r.flow_id"""
_NESTED = f"""SELECT r.id, r.status, r.created_at, r.duration_ms, f.id AS flow_id, f.name AS flow_name
    FROM (SELECT * FROM flow_run WHERE {_PAGE}) r JOIN flow f ON f.id = r.flow_id ORDER BY r.id DESC"""
_ONE = f"{_JOINED} WHERE r.id = $1"
_STEPS = "SELECT run_id, name, kind, status, duration_ms FROM step_result WHERE run_id {} ORDER BY run_id, position"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Store(Protocol):
    """The differences between the two databases."""

    async def query(self, sql: str, *parameters: Any) -> Rows:
        """Returns the rows of a statement."""

    async def steps(self, run_ids: Sequence[Any]) -> Rows:
        """Returns the step results of runs."""

    def key(self, value: UUID) -> Any:
        """Returns a UUID as a parameter."""

    def digits(self, value: Any) -> str:
        """Returns the hexadecimal digits of a UUID in a row."""

    def instant(self, value: Any) -> str | None:
        """Returns an instant of a row in the format of the service."""

    def tags(self, value: Any) -> Any:
        """Returns the tags of a row."""


def _written(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat(timespec="microseconds").replace("+00:00", "Z")


class Postgresql:
    """Reads through a pool of asyncpg, with statements that are prepared once for each connection."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def query(self, sql: str, *parameters: Any) -> Rows:
        """Returns the rows of a statement."""
        rows: Rows = await self._pool.fetch(sql, *parameters)
        return rows

    async def steps(self, run_ids: Sequence[Any]) -> Rows:
        """Returns the step results of runs."""
        return await self.query(_STEPS.format("= ANY ($1)"), run_ids)

    def key(self, value: UUID) -> Any:
        """Returns a UUID as a parameter."""
        return value

    def digits(self, value: Any) -> str:
        """Returns the hexadecimal digits of a UUID in a row."""
        digits: str = value.hex
        return digits

    def instant(self, value: Any) -> str | None:
        """Returns an instant of a row in the format of the service."""
        return _written(value)

    def tags(self, value: Any) -> Any:
        """Returns the tags of a row."""
        return value


class Sqlite:
    """Reads through one connection of aiosqlite."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def query(self, sql: str, *parameters: Any) -> Rows:
        """Returns the rows of a statement."""
        rows = await self._connection.execute_fetchall(re.sub(r"\$\d", "?", sql), parameters)
        return cast("Rows", rows)

    async def steps(self, run_ids: Sequence[Any]) -> Rows:
        """Returns the step results of runs."""
        keys = orjson.dumps(list(run_ids)).decode()
        return await self.query(_STEPS.format("IN (SELECT value FROM json_each($1))"), keys)

    def key(self, value: UUID) -> Any:
        """Returns a UUID as a parameter."""
        return value.hex

    def digits(self, value: Any) -> str:
        """Returns the hexadecimal digits of a UUID in a row."""
        digits: str = value
        return digits

    def instant(self, value: Any) -> str | None:
        """Returns an instant of a row in the format of the service."""
        return None if value is None else _written(_EPOCH + timedelta(microseconds=value))

    def tags(self, value: Any) -> Any:
        """Returns the tags of a row."""
        return orjson.Fragment(value)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    """Opens the database at `url`."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        async with aiosqlite.connect(str(parsed.database)) as connection:
            connection.row_factory = aiosqlite.Row
            yield Sqlite(connection)
        return
    dsn = parsed.set(drivername="postgresql").render_as_string(hide_password=False)
    async with asyncpg.create_pool(dsn, min_size=10, max_size=10, server_settings={"jit": "off"}) as pool:
        yield Postgresql(pool)


class Floor:
    """The three endpoints."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.app = Starlette(routes=[Route("/a", self._list), Route("/b", self._nested), Route("/c", self._one)])

    async def _list(self, request: Request) -> Response:
        rows = await self._store.query(_LIST, *self._page(request))
        return _answer({"flowRuns": {"nodes": [self._run(row) for row in rows]}})

    async def _nested(self, request: Request) -> Response:
        return _answer({"flowRuns": {"nodes": await self._with_steps(_NESTED, *self._page(request))}})

    async def _one(self, request: Request) -> Response:
        run_id = UUID(request.query_params["id"].removeprefix("run_"))
        (run,) = await self._with_steps(_ONE, self._store.key(run_id))
        return _answer({"flowRun": run})

    def _page(self, request: Request) -> tuple[Any, Any, int]:
        given = request.query_params
        flow_id = UUID(given["flow"].removeprefix("flow_"))
        return self._store.key(PROJECT_ID), self._store.key(flow_id), int(given["first"])

    def _run(self, row: Mapping[str, Any]) -> dict[str, Any]:
        store = self._store
        instants = {
            name: store.instant(row[column])
            for name, column in (
                ("createdAt", "created_at"),
                ("startedAt", "started_at"),
                ("finishedAt", "finished_at"),
                ("updatedAt", "updated_at"),
            )
        }
        return {
            "id": f"run_{store.digits(row['id'])}",
            "status": row["status"],
            "environment": row["environment"],
            "triggerMethod": row["trigger_method"],
            **instants,
            "durationMs": row["duration_ms"],
            "attempt": row["attempt"],
            "failedStepName": row["failed_step_name"],
            "externalId": row["external_id"],
            "tags": store.tags(row["tags"]),
            "metadata": orjson.Fragment(row["metadata"]),
            "output": None if row["output"] is None else orjson.Fragment(row["output"]),
        }

    async def _with_steps(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        store = self._store
        runs = list(await store.query(sql, *parameters))
        steps = defaultdict(list)
        for step in await store.steps([run["id"] for run in runs]):
            own = {"name": step["name"], "kind": step["kind"], "status": step["status"]}
            steps[step["run_id"]].append({**own, "durationMs": step["duration_ms"]})
        return [
            {
                "id": f"run_{store.digits(run['id'])}",
                "status": run["status"],
                "createdAt": store.instant(run["created_at"]),
                "durationMs": run["duration_ms"],
                "flow": {"id": f"flow_{store.digits(run['flow_id'])}", "name": run["flow_name"]},
                "steps": steps[run["id"]],
            }
            for run in runs
        ]


def _answer(data: Mapping[str, Any]) -> Response:
    return Response(orjson.dumps({"data": data}), media_type="application/json")


async def serve(url: str, port: int) -> None:
    """Serves until the process is stopped."""
    async with opened(url) as store:
        await http_server.serve(Floor(store).app, port)


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2])))
