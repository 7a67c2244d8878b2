"""Families of runs, with retries and cancellations of them."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from db.runs import claims
from engine.worker.bulk_worker import BulkWorker
from tests.support.app import App
from tests.support.worker import WorkerHarness

BOOM = {"name": "boom", "kind": "transform", "input": "{{ 1 / 0 }}"}


ASK = {"name": "ask", "kind": "humanInput", "input": {"title": "Well?"}}


NAP = {"name": "nap", "kind": "delay", "input": {"for": 3600}}


ONCE = {"name": "once", "kind": "transform", "input": "{{ 1 // (run.attempt - 1) }}"}
"""Fails in the first run of a chain of retries."""


RUN = """query($id: ID!) { flowRun(id: $id) { id status attempt output input error { code } recoveredBy { id }
    steps { name status output reusedFrom { id } } pendingInputs { id } statusHistory { message }
    retryability { strategy allowed reason message reusedSteps rerunSteps } retryOf { id } parentRun { id }
    files { name runId: id } childRuns(first: 100) { nodes { id status attempt retryOf { id } input } } } }"""


RETRY = """mutation($id: ID!, $strategy: RetryStrategy!, $force: Boolean! = false) {
    result: retry(runId: $id, strategy: $strategy, force: $force) { __typename
        ... on RetrySuccess { run { id } } ... on RetryUnderWay { run { id } } ... on AlreadyRecovered { run { id } }
        ... on RetriedSince { run { id } } ... on UserError { code message } } }"""


CANCEL = """mutation($id: ID!, $below: Boolean! = false) { result: cancel(runId: $id, includeDescendants: $below) {
    ... on CancelSuccess { run { status } cancelledRunIds } ... on UserError { code } } }"""


FROM_FAILED, ON_LATEST = "FROM_FAILED_STEP", "ON_LATEST_VERSION"


class Families:
    """A service whose due runs a test executes step by step."""

    def __init__(self, app: App, worker: WorkerHarness) -> None:
        self.app, self.worker = app, worker
        self.actions: dict[str, Any] = {}

    async def flow(self, *steps: dict[str, Any], name: str = "flow", **definition: Any) -> str:
        return await self.app.create_flow({"steps": list(steps), **definition}, name)

    async def start(self, flow_id: str, **values: Any) -> str:
        """Starts a run, executes all that is due, and returns its ID."""
        run_id: str = (await self.app.start(flow_id, **values))["run"]["id"]
        await self.work_off()
        return run_id

    async def work_off(self) -> None:
        executor = await self.worker.executor(**self.actions)
        while claimed := await self.app.database.write(claims.claim, 10, timedelta(minutes=1)):
            for run in claimed:
                await executor.execute(run)

    async def run(self, run_id: str) -> Any:
        return (await self.app.query(RUN, {"id": run_id}))["flowRun"]

    async def status(self, run_id: str) -> str:
        status: str = (await self.run(run_id))["status"]
        return status

    async def children(self, run_id: str) -> list[Any]:
        nodes: list[Any] = (await self.run(run_id))["childRuns"]["nodes"]
        return sorted(nodes, key=lambda node: str(node["id"]))

    async def retry(self, run_id: str, strategy: str = FROM_FAILED, *, force: bool = False) -> Any:
        """Retries a run, and executes all that is due; returns the result of the mutation."""
        variables = {"id": run_id, "strategy": strategy, "force": force}
        result = (await self.app.query(RETRY, variables))["result"]
        await self.work_off()
        return result

    async def cancel(self, run_id: str, *, below: bool = False) -> Any:
        return (await self.app.query(CANCEL, {"id": run_id, "below": below}))["result"]

    async def resume(self, run_id: str, response: Any) -> None:
        (request,) = (await self.run(run_id))["pendingInputs"]
        text = """mutation($r: ID!, $q: ID!, $a: JSON!) { resumeRun(runId: $r, requestId: $q, response: $a) {
            ... on UserError { code message } } }"""
        assert (await self.app.query(text, {"r": run_id, "q": request["id"], "a": response}))["resumeRun"] == {}
        await self.work_off()

    async def bulk(self, mutation: str, arguments: str) -> Any:
        """Executes a bulk operation, and all that is due then."""
        text = f"""mutation {{ result: {mutation}({arguments}) {{ ... on BulkOperationSuccess {{ operation {{ id
            succeeded skipped reasons {{ reason count }} plan {{ eligible ineligible {{ reason count }} }} }} }}
            ... on UserError {{ code message }} }} }}"""
        operation = (await self.app.query(text))["result"]["operation"]
        await BulkWorker(self.app.database).drain()
        await self.work_off()
        return operation


def call(flow: str, **more: Any) -> dict[str, Any]:
    return {"name": "call", "kind": "flow", "input": {"flow": flow, **more}}


def loop(flow: str, items: Sequence[Any], **more: Any) -> dict[str, Any]:
    return call(flow, forEach=list(items), input={"n": "{{ item }}"}, **more)
