"""A claimed run in memory, and its journal."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar

from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.runs import step_journal
from db.runs.claims import Claimed, ClaimedRun, JournalRow, LeaseLostError
from db.runs.output import files
from db.runs.step_journal import Advance, AttemptResult, End
from db.runs.transitions import Lease
from domain import ids, json_codec
from domain.enums import RunStatus, StepStatus
from domain.errors import DatabaseUnavailableError
from domain.ids import IdKind
from domain.runs.state_machine import FINISHED
from domain.time import clock
from engine.compiled_flow import CompiledFlow
from engine.errors import StepError
from engine.run_output import OutputLimits, RunOutputBuffer
from engine.secrets.run_secrets import RunSecrets
from engine.step_values import error_text

P = ParamSpec("P")
T = TypeVar("T")


class RunEnded(Exception):  # noqa: N818 - control flow, not a failure of the engine
    """The run ends without success."""

    def __init__(self, status: RunStatus, step_name: str | None, error: StepError) -> None:
        super().__init__(error.message)
        self.status, self.step_name, self.error = status, step_name, error


class Suspended(Exception):  # noqa: N818 - control flow, not a failure
    """The claim has ended; the run is resumed later."""


class RunJournal:
    """Writes the journal of one claimed run, fenced by its lease. Each write takes the buffered output along."""

    def __init__(self, database: Database, lease: Lease, output: RunOutputBuffer) -> None:
        self._database = database
        self._lease = lease
        self._output = output

    async def write(self, work: Callable[Concatenate[UnitOfWork, Lease, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Returns the result of `work`, a journal write in a transaction of its own.

        Raises:
            LeaseLostError: another worker has the run, or it was ended.
        """
        output = self._output.take()
        if output is None:
            return await self._database.write(work, self._lease, *args, **kwargs)
        return await self._database.write(step_journal.with_output, self._lease, output, work, *args, **kwargs)

    async def write_batched(self, change: Advance | End) -> bool:
        """Write `change` in one transaction with the changes of other runs. Returns False if it was not written.

        It is not written if output is buffered, the lease is lost, or another transaction has locked the run. The
        caller then writes the change by itself.
        """
        if self._output.has_any:
            return False
        return await self._database.write_batched(step_journal.advance_batch, change.lease.run_id, change)

    async def flush_output(self) -> None:
        """Write the buffered output while an attempt is running."""
        output = self._output.take()
        if output is None:
            return
        try:
            await self._database.write(step_journal.write_output, self._lease, output)
        except DatabaseUnavailableError:
            self._output.put_back(output)
        except LeaseLostError:
            # The executor's next journal write finds out, too.
            return


@dataclass(slots=True)
class Execution:
    """A claimed run in memory: the journal at the claim, and everything that happened since."""

    lease: Lease
    run: ClaimedRun
    flow: CompiledFlow
    steps: dict[int, JournalRow]
    """The journal at the claim: step results by position."""
    deadline: datetime | None
    """The instant at which the run's own timeout passes."""
    output: RunOutputBuffer
    journal: RunJournal
    secrets: RunSecrets
    scope: dict[str, Any] = field(init=False)
    """The variables of templates."""
    redacted_outputs: dict[str, Any] = field(default_factory=dict)
    """For each step that redacts a part of its output: the output as the journal shows it."""
    pending_result: AttemptResult | None = None
    """Result of the last attempt, to be written together with the start of the next one."""
    abandoned: JournalRow | None = None
    """The step that is waiting when the run is ended."""

    def __post_init__(self) -> None:
        self.scope = {"run": _run_scope(self.run, self.secrets), "steps": {}, "secrets": self.secrets.marker}
        for step in self.steps.values():
            if step.status in FINISHED:
                output, error = json_codec.decode(step.output), json_codec.decode(step.error)
                if step.sealed is not None:
                    self.redacted_outputs[step.name] = output
                    output = self.secrets.restored(step.name, output, step.sealed)
                self.record_step(step.name, StepStatus(step.status), output, error)

    @classmethod
    def load(
        cls, database: Database, claimed: Claimed, flow: CompiledFlow, limits: OutputLimits, secrets: RunSecrets
    ) -> "Execution":
        """Returns the execution of a run that has just been claimed."""
        run = claimed.run
        output = RunOutputBuffer(run.id, limits, lambda: database.read(files.count_of_run, run.id), secrets)
        return cls(
            claimed.lease,
            run,
            flow,
            {step.position: step for step in claimed.steps},
            _deadline(run, flow.definition.timeout),
            output,
            RunJournal(database, claimed.lease, output),
            secrets,
        )

    @property
    def shown_id(self) -> str:
        """The run's ID as clients see it."""
        return ids.encode(IdKind.RUN, self.lease.run_id)

    @property
    def seconds_left(self) -> float | None:
        """Returns the seconds until the run's own timeout; None if it has no timeout."""
        return None if self.deadline is None else (self.deadline - clock.now()).total_seconds()

    @property
    def is_overdue(self) -> bool:
        """True if the run's own timeout has passed."""
        return (left := self.seconds_left) is not None and left <= 0

    @property
    def timeout_error(self) -> StepError:
        """Returns the error of a run whose own timeout has passed."""
        return StepError("TIMEOUT", f"The run took longer than {self.flow.definition.timeout:g} seconds.")

    @property
    def last_output(self) -> Any:
        """Output of the last step, in the order of the definition, that succeeded, redacted; None if none did."""
        results = ((step.definition.name, self.scope["steps"].get(step.definition.name)) for step in self.flow.steps)
        succeeded = [found for found in results if found[1] and found[1]["status"] == StepStatus.SUCCEEDED]
        if not succeeded:
            return None
        name, result = succeeded[-1]
        return self.redacted_outputs.get(name, result["output"])

    @property
    def operation_id(self) -> str:
        """ID of the first run of the operation that this run continues, as clients see it."""
        first_run_id: str = self.scope["run"]["firstRunId"]
        return first_run_id

    def record_step(self, name: str, status: StepStatus, output: Any, error: Any) -> None:
        """Make the result of the step `name` visible to the templates of later steps."""
        self.scope["steps"][name] = {"status": status.value, "output": output, "error": error}

    def take_pending_result(self) -> AttemptResult | None:
        """Returns and clears the result of the last attempt. The caller must write it."""
        result, self.pending_result = self.pending_result, None
        return result

    async def abandon(self, position: int, attempt: int, message: str) -> None:
        """End the wait of an attempt, before its failure is journalled."""
        await self.journal.write(step_journal.abandon, self.run.root_run_id, position, attempt, message)

    def abort(self, step: JournalRow | None, status: RunStatus, error: StepError) -> NoReturn:
        """End the run outside an attempt. `step`, which the journal left unfinished, fails with the run."""
        if step is not None:
            # A step that was found RUNNING has been journalled as interrupted by now.
            source = StepStatus.PENDING if step.status == StepStatus.RUNNING else StepStatus(step.status)
            self.abandoned = step if source is StepStatus.PAUSED else None
            self.pending_result = failed_with_run(step, error, source)
        raise RunEnded(status, step.name if step else None, error)


def unfinished_step(steps: Iterable[JournalRow]) -> JournalRow | None:
    """Returns the step that is unfinished in the journal; a run has at most one."""
    return next((step for step in steps if step.status not in FINISHED), None)


def failed_with_run(step: JournalRow, error: StepError, source: StepStatus) -> AttemptResult:
    """Returns the result of an unfinished step whose run ends with `error`. `source` is the step's status in the
    journal."""
    return AttemptResult(
        step.position,
        step.name,
        StepStatus.FAILED,
        step.attempts_count,
        step.started_at,
        error=error_text(error),
        source=source,
    )


def _deadline(run: ClaimedRun, timeout: float | None) -> datetime | None:
    if not timeout:
        return None
    # The time during which the run was executed before its last suspension counts; suspensions do not.
    deadline: datetime = run.running_since + timedelta(seconds=timeout, milliseconds=-run.ran_ms)
    return deadline


def _run_scope(run: ClaimedRun, secrets: RunSecrets) -> dict[str, Any]:
    value = json_codec.decode(run.input)
    if run.input_secrets is not None:
        value = secrets.inserted(value, json_codec.decode(run.input_secrets))
    return {
        "id": ids.encode(IdKind.RUN, run.id),
        "firstRunId": ids.encode(IdKind.RUN, run.first_run_id or run.id),
        "retryOf": ids.encode(IdKind.RUN, run.retry_of_id) if run.retry_of_id else None,
        "attempt": run.attempt,
        "environment": run.environment,
        "scheduledFor": run.scheduled_for.isoformat() if run.scheduled_for else None,
        "tags": list(run.tags),
        "input": value,
        "metadata": json_codec.decode(run.metadata),
    }
