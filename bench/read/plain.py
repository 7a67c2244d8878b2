"""Plain Strawberry over the ORM, as in its documentation: `python -m bench.read.plain DATABASE_URL PORT`.

Types have attributes, resolvers load SQLModel objects, links are loaded by dataloaders. Nothing is tuned.
"""

import sys
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import strawberry
import uvloop
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlmodel import col
from starlette.applications import Starlette
from starlette.routing import Route
from strawberry.asgi import GraphQL
from strawberry.dataloader import DataLoader
from strawberry.scalars import JSON
from strawberry.types import Info

from bench.read import http_server
from bench.read.data import PROJECT_ID
from db.models import Flow as FlowModel
from db.models import FlowRun as RunModel
from db.models import StepResult as StepModel

PlainInfo = Info[dict[str, Any], None]


@strawberry.type
class Flow:
    """A flow."""

    id: strawberry.ID
    name: str


@strawberry.type
class Step:
    """A step of a run."""

    name: str
    kind: str
    status: str
    duration_ms: int | None


@strawberry.type
class FlowRun:
    """A run."""

    model: strawberry.Private[RunModel]
    id: strawberry.ID
    status: str
    environment: str
    trigger_method: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime
    duration_ms: int | None
    attempt: int
    failed_step_name: str | None
    external_id: str | None
    tags: list[str]
    metadata: JSON
    output: JSON | None

    @strawberry.field
    async def flow(self, info: PlainInfo) -> Flow:
        """Returns the run's flow."""
        found: FlowModel = await info.context["flows"].load(self.model.flow_id)
        return Flow(id=strawberry.ID(f"flow_{found.id.hex}"), name=found.name)

    @strawberry.field
    async def steps(self, info: PlainInfo) -> list[Step]:
        """Returns the run's steps."""
        found: Sequence[StepModel] = await info.context["steps"].load(self.model.id)
        return [
            Step(name=step.name, kind=step.kind, status=step.status, duration_ms=step.duration_ms) for step in found
        ]


def _run(model: RunModel) -> FlowRun:
    return FlowRun(
        model=model,
        id=strawberry.ID(f"run_{model.id.hex}"),
        status=model.status,
        environment=model.environment,
        trigger_method=model.trigger_method,
        created_at=model.created_at,
        started_at=model.started_at,
        finished_at=model.finished_at,
        updated_at=model.updated_at,
        duration_ms=model.duration_ms,
        attempt=model.attempt,
        failed_step_name=model.failed_step_name,
        external_id=model.external_id,
        tags=model.tags,
        metadata=JSON(model.meta),
        output=None if model.output is None else JSON(model.output),
    )


@strawberry.type
class Connection:
    """A page of runs."""

    nodes: list[FlowRun]


@strawberry.type
class Query:
    """The root of queries."""

    @strawberry.field
    async def flow_runs(self, info: PlainInfo, first: int, flow: strawberry.ID) -> Connection:
        """Returns the newest runs of a flow."""
        flow_id = UUID(flow.removeprefix("flow_"))
        query = select(RunModel).where(
            col(RunModel.project_id) == PROJECT_ID,
            col(RunModel.flow_id) == flow_id,
            col(RunModel.archived_at).is_(None),
        )
        async with info.context["sessions"]() as session:
            models = await session.scalars(query.order_by(col(RunModel.id).desc()).limit(first))
        return Connection(nodes=[_run(model) for model in models])

    @strawberry.field
    async def flow_run(self, info: PlainInfo, id: strawberry.ID) -> FlowRun | None:  # noqa: A002
        """Returns one run."""
        async with info.context["sessions"]() as session:
            model = await session.get(RunModel, UUID(id.removeprefix("run_")))
        return _run(model) if model else None


class App(GraphQL[dict[str, Any], None]):
    """The endpoint, with dataloaders of its own for each request."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession]) -> None:
        super().__init__(strawberry.Schema(Query))
        self._sessions = sessions

    async def get_context(self, *_: Any, **__: Any) -> dict[str, Any]:
        """Returns the values that resolvers find in `info.context`."""
        return {
            "sessions": self._sessions,
            "flows": DataLoader(load_fn=self._flows),
            "steps": DataLoader(load_fn=self._steps),
        }

    async def _flows(self, keys: list[UUID]) -> list[FlowModel]:
        async with self._sessions() as session:
            found = await session.scalars(select(FlowModel).where(col(FlowModel.id).in_(keys)))
        by_id = {model.id: model for model in found}
        return [by_id[key] for key in keys]

    async def _steps(self, keys: list[UUID]) -> list[list[StepModel]]:
        query = select(StepModel).where(col(StepModel.run_id).in_(keys)).order_by(col(StepModel.position))
        async with self._sessions() as session:
            found = await session.scalars(query)
        by_run = defaultdict(list)
        for model in found:
            by_run[model.run_id].append(model)
        return [by_run[key] for key in keys]


async def serve(url: str, port: int) -> None:
    """Serves until the process is stopped."""
    sessions = async_sessionmaker(create_async_engine(url, pool_size=10), expire_on_commit=False)
    endpoint = App(sessions)
    await http_server.serve(Starlette(routes=[Route("/graphql", endpoint, methods=["POST"])]), port)


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2])))
