"""What an executor reports of its work."""

from typing import Any

from domain.observation.observer import AttemptOutcome, Observer
from engine.executor import Executor
from engine.steps import StepContext, StepSettings
from engine.steps.transform import TransformKind
from tests.support.clock import START
from tests.support.worker import WorkerHarness, python, transform


class Reports(Observer):
    """Keeps what is reported."""

    def __init__(self) -> None:
        self.attempts: list[tuple[str, AttemptOutcome]] = []
        self.executed: list[str] = []
        self.ended: list[str] = []
        self.lost = 0

    def attempt_ended(self, kind: str, outcome: AttemptOutcome) -> None:
        self.attempts.append((kind, outcome))

    def step_executed(self, kind: str, seconds: float) -> None:
        assert seconds >= 0
        self.executed.append(kind)

    def run_ended(self, status: str) -> None:
        self.ended.append(status)

    def lease_lost(self) -> None:
        self.lost += 1


async def test_attempts_and_the_end_of_a_run_are_reported(worker: WorkerHarness) -> None:
    async def flaky(ctx: StepContext) -> str:
        if ctx.attempt == 1:
            raise RuntimeError("not yet")
        return "done"

    reports = Reports()
    kinds = await worker.kinds(flaky=flaky)
    executor = Executor(worker.database, worker.flows, kinds, observer=reports)
    steps = [transform("a", 1), python("flaky", retry={"attempts": 2, "delay": 0})]
    failing = transform("b", "{{ none.such }}", continueOnFailure=True)
    await worker.start(await worker.publish(*steps, failing))
    for _ in range(2):
        await executor.execute(await worker.claim())

    assert reports.attempts == [
        ("transform", AttemptOutcome.SUCCEEDED),
        ("python", AttemptOutcome.RETRIED),
        ("python", AttemptOutcome.SUCCEEDED),
        ("transform", AttemptOutcome.FAILED),
    ]
    assert reports.executed == ["transform", "python", "python"]
    assert reports.ended == ["SUCCEEDED"]
    assert reports.lost == 0


async def test_lost_lease_is_reported(worker: WorkerHarness) -> None:
    run_id = await worker.start(await worker.publish(transform("a", 1)))

    class LeaseLosingKind(TransformKind):
        async def run(self, rendered: Any, context: StepContext, /) -> Any:
            await worker.change(run_id, due_at=START)
            await worker.claim()
            return rendered

    reports = Reports()
    kinds = {"transform": LeaseLosingKind(StepSettings())}
    await Executor(worker.database, worker.flows, kinds, observer=reports).execute(await worker.claim())

    assert reports.lost == 1
    assert reports.ended == []
