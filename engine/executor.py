"""Carries one claimed run as far as it goes.

A run is a pipeline: load its journal → next step → render its input → journal the attempt → execute → … → finish.
How an attempt went and that the next one begins are journalled together, so between two steps there is one
transaction. A worker may be lost before or after any of them: the next one finds the journal, takes a step found
RUNNING for an attempt cut short, and tries it again.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar

from db.core.database import Database
from db.runs import files, input_requests, step_journal
from db.runs.children import ChildBatch
from db.runs.children import of_attempt as children_rows
from db.runs.step_journal import Advance, AttemptResult, AttemptStart, Claimed, End, LeaseLostError
from db.runs.transitions import Ending, Lease
from db.sql.rows import AnyRow
from domain import clock, ids, json_codec
from domain.definition import FlowStep, HumanInputStep
from domain.enums import InputRequestStatus, RunStatus, StepStatus
from domain.errors import DatabaseUnavailableError, InputTooLargeError, InvalidArgumentError
from domain.fingerprint import fingerprint
from domain.ids import IdKind
from domain.run_log import LogLevel
from domain.state_machine import LIVE
from domain.text import storable
from engine import child_flows, waits
from engine.compiled_flow import CompiledFlow, CompiledStep, FlowCache
from engine.errors import StepError
from engine.run_output import AttemptRecorder, OutputLimits, RunOutputBuffer
from engine.steps import StepContext, StepRunner
from engine.waits import Wait

_logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

MAX_INTERRUPTIONS = 5
"""Workers that a run may take down with it, without progress in between, before it is given up."""
MAX_MESSAGE = 4_000
"""Characters kept of an error's message."""
MAX_CODE = 100
"""Characters kept of an error's code."""
_DONE = frozenset({StepStatus.SUCCEEDED, StepStatus.SKIPPED, StepStatus.FAILED})


@dataclass(slots=True)
class _Execution:
    """A claimed run in memory: what the journal said, and what happened since."""

    lease: Lease
    run: AnyRow
    flow: CompiledFlow
    journal: dict[int, AnyRow]
    scope: dict[str, Any]
    deadline: datetime | None
    notes: RunOutputBuffer
    outcome: AttemptResult | None = None
    """Of the last attempt, not journalled yet."""
    last_output: Any = None

    def enter(self, name: str, status: StepStatus, output: Any, error: Any) -> None:
        """Let later steps see how the step `name` went."""
        self.scope["steps"][name] = {"status": status.value, "output": output, "error": error}
        if status is StepStatus.SUCCEEDED:
            self.last_output = output

    @property
    def seconds_left(self) -> float | None:
        """Until the run's own timeout."""
        return None if self.deadline is None else (self.deadline - clock.now()).total_seconds()

    @property
    def is_late(self) -> bool:
        """Whether the run's own timeout has passed."""
        return (left := self.seconds_left) is not None and left <= 0

    @property
    def begun(self) -> AnyRow | None:
        """The step that the journal left without an end."""
        return _attempt_of(self.journal.values())

    def break_off(self, step: AnyRow | None, status: RunStatus, error: StepError) -> NoReturn:
        """End the run; the step that the journal left without an end fails with it."""
        if step is not None:
            # One found RUNNING was cut short, which the journal knows by now.
            source = StepStatus.PENDING if step.status == StepStatus.RUNNING else StepStatus(step.status)
            self.outcome = _failed_with_run(step, error, source)
        raise _RunEndedError(status, step.name if step else None, error)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One attempt at a step, under way."""

    step: CompiledStep
    position: int
    number: int
    failures: int
    """Attempts before this one that failed; those cut short do not count against the step's retry policy."""
    started_at: datetime
    source: StepStatus
    """The step's status in the journal while it is under way."""

    @property
    def name(self) -> str:
        return self.step.definition.name

    @property
    def is_launch(self) -> bool:
        """Whether it starts child runs, with which its own end is journalled."""
        return isinstance(self.step.definition, FlowStep) and self.source is not StepStatus.PAUSED

    def as_try(self, rendered: str | None) -> AttemptStart:
        step = self.step.definition
        return AttemptStart(self.position, step.name, step.display_name, step.kind, self.number, rendered)

    def outcome(
        self, status: StepStatus, *, output: str | None = None, error: StepError | None = None
    ) -> AttemptResult:
        told = _error_text(error) if error else None
        return AttemptResult(self.position, self.name, status, self.number, self.started_at, output, told, self.source)


class _RunEndedError(Exception):
    """The run ends without success."""

    def __init__(self, status: RunStatus, step: str | None, error: StepError) -> None:
        super().__init__(error.message)
        self.status, self.step, self.error = status, step, error


class _Suspended(Exception):  # noqa: N818 - control flow, not a failure
    """The claim has ended, and the run goes on later."""


class Executor:
    """Executes claimed runs with the step runners given, by kind of step."""

    def __init__(
        self,
        database: Database,
        flows: FlowCache,
        runners: Mapping[str, StepRunner],
        notes: OutputLimits | None = None,
    ) -> None:
        self._database = database
        self._flows = flows
        self._runners = runners
        self._note_settings = notes or OutputLimits()

    async def execute(self, claimed: Claimed) -> None:
        """Carry the run on to its end, or to where it has to wait. Errors end the run and never leave here."""
        lease = claimed.lease
        try:
            await self._execute(claimed)
        except LeaseLostError:
            _logger.warning("Lost the lease of %s: another worker has it, or it was ended", _id(lease))
        except DatabaseUnavailableError:
            # The lease will lapse, and whoever reaches the database first goes on from the journal.
            _logger.warning("The database went away under %s", _id(lease))
        except Exception:
            _logger.exception("Internal error in %s", _id(lease))
            await self._give_up(lease)

    async def _execute(self, claimed: Claimed) -> None:
        execution = await self._load(claimed)
        try:
            await self._note_interruption(execution)
            _fail_poison_run(execution)
            for position in range(len(execution.flow.steps)):
                await self._pass_step(execution, position)
            await self._succeed(execution)
        except _RunEndedError as end:
            await self._end(execution, end)
        except _Suspended:
            return

    async def _load(self, claimed: Claimed) -> _Execution:
        run = claimed.run
        flow = await self._flows.get(run.flow_version_id)
        timeout = flow.definition.timeout
        # What it ran before its last pause counts, the pauses do not.
        left = timedelta(seconds=timeout, milliseconds=-run.ran_ms) if timeout else None
        deadline = run.running_since + left if left is not None else None
        by_position = {step.position: step for step in claimed.steps}
        scope = {"run": _run_scope(run), "steps": {}}
        notes = RunOutputBuffer(run.id, self._note_settings, lambda: self._database.read(files.count_of_run, run.id))
        execution = _Execution(claimed.lease, run, flow, by_position, scope, deadline, notes)
        for step in claimed.steps:
            if step.status in _DONE:
                execution.enter(
                    step.name, StepStatus(step.status), json_codec.decode(step.output), json_codec.decode(step.error)
                )
        return execution

    async def _note_interruption(self, execution: _Execution) -> None:
        step = execution.begun
        if step is not None and step.status == StepStatus.RUNNING:
            execution.notes.log(
                step.name, step.attempts_count, "The attempt was cut short: its worker was lost", LogLevel.WARNING
            )
            await self._write(execution, step_journal.interrupt, step.position)

    async def _pass_step(self, execution: _Execution, position: int) -> None:
        before = execution.journal.get(position)
        if before is not None and before.status in _DONE:
            return
        if execution.is_late:
            execution.break_off(before, RunStatus.TIMEOUT, _run_timed_out(execution.flow))
        attempt = _Attempt(
            execution.flow.steps[position],
            position,
            number=_next_number(before),
            failures=before.failures if before else 0,
            started_at=before.started_at if before else clock.now(),
            source=StepStatus.PAUSED if before and before.status == StepStatus.PAUSED else StepStatus.RUNNING,
        )
        try:
            if before is not None and before.status == StepStatus.PAUSED:
                output = await self._waited(execution, attempt, before)
            elif await self._condition_holds(execution, attempt):
                output = await self._try(execution, attempt)
            else:
                return
            text = _encode_output(output)
        except StepError as error:
            await self._fail(execution, attempt, _storable(error))
        else:
            if not attempt.is_launch:
                execution.outcome = attempt.outcome(StepStatus.SUCCEEDED, output=text)
            execution.enter(attempt.name, StepStatus.SUCCEEDED, output, None)

    async def _condition_holds(self, execution: _Execution, attempt: _Attempt) -> bool:
        # Asked before the first attempt alone: what an attempt began, the next one ends.
        if attempt.step.when is None or attempt.number > 1:
            return True
        try:
            holds = bool(attempt.step.when.render(execution.scope))
        except StepError:
            await self._begin(execution, attempt, None)
            raise
        if not holds:
            execution.notes.log(attempt.name, attempt.number, "Skipped: its condition does not hold")
            await self._write(execution, step_journal.skip, execution.outcome, attempt.as_try(None))
            execution.outcome = None
            execution.enter(attempt.name, StepStatus.SKIPPED, None, None)
        return holds

    async def _try(self, execution: _Execution, attempt: _Attempt) -> Any:
        """The output of one attempt, which is journalled before it begins."""
        if isinstance(attempt.step.definition, FlowStep):
            return await self._start_children(execution, attempt)
        try:
            rendered = attempt.step.input.render(execution.scope)
            text = _encode(rendered, "input", "INPUT_TOO_LARGE")
            wait = waits.wait_of(attempt.step.definition, rendered, execution.lease.run_id, attempt.position)
        except StepError:
            await self._begin(execution, attempt, None)
            raise
        if wait is not None:
            await self._pause(execution, attempt.as_try(text), wait)
        await self._begin(execution, attempt, text)
        return await self._within_timeouts(execution, attempt, rendered)

    async def _begin(self, execution: _Execution, attempt: _Attempt, rendered: str | None) -> None:
        begun = attempt.as_try(rendered)
        if not await self._write_together(execution, Advance(execution.lease, execution.outcome, begun)):
            await self._write(execution, step_journal.advance, execution.outcome, begun)
        execution.outcome = None

    async def _write(
        self, execution: _Execution, work: Callable[Concatenate[Any, Lease, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """A journal write, and with it what was noted since the last one."""
        notes = execution.notes.take()
        if notes is None:
            return await self._database.write(work, execution.lease, *args, **kwargs)
        return await self._database.write(step_journal.with_output, execution.lease, notes, work, *args, **kwargs)

    async def _write_together(self, execution: _Execution, change: Advance | End) -> bool:
        """A journal write together with those of other runs, where it concerns this run alone; whether it was done."""
        if execution.notes.has_any:
            return False
        return await self._database.write_together(step_journal.advance_batch, change.lease.run_id, change)

    async def _save_notes(self, execution: _Execution) -> None:
        notes = execution.notes.take()
        if notes is None:
            return
        try:
            await self._database.write(step_journal.write_output, execution.lease, notes)
        except DatabaseUnavailableError:
            execution.notes.give_back(notes)
        except LeaseLostError:
            # The next journal write will find out, too.
            return

    async def _start_children(self, execution: _Execution, attempt: _Attempt) -> Any:
        try:
            begun = await child_flows.children_of(
                self._database,
                self._flows,
                execution.run,
                attempt.step,
                execution.scope,
                position=attempt.position,
                attempt=attempt.number,
            )
            text = _encode({"inputs": begun.inputs}, "input", "INPUT_TOO_LARGE")
        except StepError:
            await self._begin(execution, attempt, None)
            raise
        if begun.brood.position is not None and begun.inputs:
            message = f"Waiting for {len(begun.inputs)} child runs" if begun.is_loop else "Waiting for a child run"
            await self._pause(execution, attempt.as_try(text), Wait(message, None), begun.brood)
        # Journalled as done together with the children, which must not be started twice.
        made = await self._write(execution, step_journal.launch, execution.outcome, attempt.as_try(text), begun.brood)
        execution.outcome = None
        return [ids.encode(IdKind.RUN, key) for key in made]

    async def _pause(
        self, execution: _Execution, waiting: AttemptStart, wait: Wait, brood: ChildBatch | None = None
    ) -> NoReturn:
        execution.notes.log(waiting.name, waiting.number, wait.message)
        await self._write(
            execution, step_journal.pause, execution.outcome, waiting, wait.message, wait.due_at, wait.request, brood
        )
        raise _Suspended

    async def _waited(self, execution: _Execution, attempt: _Attempt, step: AnyRow) -> Any:
        """What a step that waited gives; pauses the run again when it was looked at too early."""
        definition = attempt.step.definition
        if isinstance(definition, HumanInputStep):
            return await self._answer(execution, definition, attempt.position)
        if isinstance(definition, FlowStep):
            return await self._children_output(execution, attempt, is_loop=definition.input.is_loop)
        until = waits.delayed_until(json_codec.decode(step.input), step.started_at)
        if until > clock.now():
            await self._wait_on(execution, "Waiting on", until)
        return {"until": until.isoformat()}

    async def _children_output(self, execution: _Execution, attempt: _Attempt, *, is_loop: bool) -> Any:
        of_attempt = (attempt.position, attempt.number)
        children = await self._database.read(children_rows, execution.lease.run_id, *of_attempt)
        if any(child.status in LIVE for child in children):
            await self._write(execution, step_journal.wait_on, "Waiting on for child runs", None, of_attempt)
            raise _Suspended
        return child_flows.output_of(children, is_loop=is_loop)

    async def _answer(self, execution: _Execution, step: HumanInputStep, position: int) -> Any:
        request = await self._database.read(input_requests.of_step, execution.lease.run_id, position)
        if request.status == InputRequestStatus.ANSWERED:
            return json_codec.decode(request.answer)
        if request.expires_at is None or request.expires_at > clock.now():
            await self._wait_on(execution, "Waiting on for an answer", request.expires_at)
        if request.status == InputRequestStatus.PENDING and not await self._database.write(
            input_requests.expire, request.id
        ):
            return await self._answer(execution, step, position)  # an answer came at the last moment
        if step.input.on_expiry == "default":
            return step.input.default
        raise StepError("INPUT_EXPIRED", "Nobody answered in time.")

    async def _wait_on(self, execution: _Execution, message: str, due_at: datetime | None) -> NoReturn:
        await self._write(execution, step_journal.wait_on, message, due_at)
        raise _Suspended

    async def _within_timeouts(self, execution: _Execution, attempt: _Attempt, rendered: Any) -> Any:
        step = attempt.step.definition
        limits = [seconds for seconds in (step.timeout, execution.seconds_left) if seconds is not None]
        seconds = min(limits, default=None)
        runner = self._runners[step.kind]
        run_id = _id(execution.lease)
        notes = AttemptRecorder(execution.notes, step.name, attempt.number, lambda: self._save_notes(execution))
        context = StepContext(run_id, step.name, attempt.number, f"{run_id}:{step.name}", seconds, notes)
        try:
            return await clock.timeout(seconds, runner.run(rendered, context))
        except TimeoutError:
            raise StepError("TIMEOUT", f"The step took longer than {seconds:g} seconds.") from None
        except asyncio.CancelledError:
            # The worker stops, or the run was ended; while the lease still holds, what was said is not lost.
            await notes.close()
            await self._save_notes(execution)
            raise
        finally:
            await notes.close()

    async def _fail(self, execution: _Execution, attempt: _Attempt, error: StepError) -> None:
        step = attempt.step.definition
        if execution.is_late:
            execution.outcome = attempt.outcome(StepStatus.FAILED, error=error)
            _log_failure(execution, attempt, error, "the time of the run is over", LogLevel.ERROR)
            raise _RunEndedError(RunStatus.TIMEOUT, step.name, _run_timed_out(execution.flow)) from error
        failures = attempt.failures + 1
        if error.retryable and failures < step.retry.attempts:
            delay = step.retry.delay_after(failures, random.random())  # noqa: S311 - spreads load, guards nothing
            _log_failure(execution, attempt, error, f"tried again in {delay:.1f} s", LogLevel.WARNING)
            await self._hand_back(execution, attempt.outcome(StepStatus.PENDING, error=error), delay)
        execution.outcome = attempt.outcome(StepStatus.FAILED, error=error)
        if not step.continue_on_failure:
            _log_failure(execution, attempt, error, "the run fails", LogLevel.ERROR)
            raise _RunEndedError(RunStatus.FAILED, step.name, error) from error
        _log_failure(execution, attempt, error, "the run goes on all the same", LogLevel.ERROR)
        execution.enter(attempt.name, StepStatus.FAILED, None, _error_document(error))

    async def _hand_back(self, execution: _Execution, outcome: AttemptResult, seconds: float) -> NoReturn:
        """Wait without a worker: a delay may be long, and must outlive this process."""
        left = execution.seconds_left
        due_at = clock.now() + timedelta(seconds=seconds if left is None else min(seconds, left))
        await self._write(execution, step_journal.snooze, outcome, due_at)
        raise _Suspended

    async def _succeed(self, execution: _Execution) -> None:
        output = execution.last_output
        if execution.flow.output is not None:
            try:
                output = execution.flow.output.render(execution.scope)
                text = _encode_output(output)
            except StepError as error:
                raise _RunEndedError(RunStatus.FAILED, None, _storable(error)) from error
        else:
            text = _encode_output(output)
        await self._finish(execution, RunStatus.SUCCEEDED, "Run succeeded", {"output": text})

    async def _end(self, execution: _Execution, end: _RunEndedError) -> None:
        message = f"Step {end.step!r}: {end.error.message}" if end.step else end.error.message
        await self._finish(execution, end.status, message, _error_values(end.step, end.error))

    async def _finish(self, execution: _Execution, status: RunStatus, message: str, values: dict[str, Any]) -> None:
        run = execution.run
        values["duration_ms"] = clock.milliseconds_since(run.started_at)
        is_retry = run.retry_of_id is not None
        if run.parent_run_id is None and not is_retry:
            end = End(execution.lease, execution.outcome, Ending(status, message, values))
            if await self._write_together(execution, end):
                return
        await self._write(execution, step_journal.finish, execution.outcome, status, message, values, is_retry=is_retry)

    async def _give_up(self, lease: Lease) -> None:
        error = StepError("INTERNAL_ERROR", "The service failed while executing the run.")
        try:
            now = await self._database.read(step_journal.load, lease)
            step = _attempt_of(now.steps)
            values = _error_values(step.name if step else None, error)
            values["duration_ms"] = clock.milliseconds_since(now.run.started_at)
            outcome = _failed_with_run(step, error, StepStatus(step.status)) if step else None
            await self._database.write(
                step_journal.finish, lease, outcome, RunStatus.INTERNAL_ERROR, error.message, values, is_retry=False
            )
        except (LeaseLostError, DatabaseUnavailableError):
            _logger.warning("Could not end %s after its internal error", _id(lease))


def _log_failure(execution: _Execution, attempt: _Attempt, error: StepError, consequence: str, level: LogLevel) -> None:
    message = f"Attempt {attempt.number} failed; {consequence}. {error}"
    execution.notes.log(attempt.name, attempt.number, message, level)


def _next_number(before: AnyRow | None) -> int:
    if before is None:
        return 1
    number: int = before.attempts_count
    # A step that waited goes on with the attempt that it began.
    return number if before.status == StepStatus.PAUSED else number + 1


def _attempt_of(steps: Iterable[AnyRow]) -> AnyRow | None:
    return next((step for step in steps if step.status not in _DONE), None)


def _failed_with_run(step: AnyRow, error: StepError, source: StepStatus) -> AttemptResult:
    told = _error_text(error)
    return AttemptResult(
        step.position, step.name, StepStatus.FAILED, step.attempts_count, step.started_at, error=told, source=source
    )


def _id(lease: Lease) -> str:
    return ids.encode(IdKind.RUN, lease.run_id)


def _run_scope(run: AnyRow) -> dict[str, Any]:
    return {
        "id": ids.encode(IdKind.RUN, run.id),
        "attempt": run.attempt,
        "environment": run.environment,
        "scheduledFor": run.scheduled_for.isoformat() if run.scheduled_for else None,
        "tags": list(run.tags),
        "input": json_codec.decode(run.input),
        "metadata": json_codec.decode(run.metadata),
    }


def _fail_poison_run(execution: _Execution) -> None:
    lost = execution.run.interruptions
    if lost > MAX_INTERRUPTIONS:
        message = f"Given up: {lost} workers were lost while they executed this run."
        execution.break_off(execution.begun, RunStatus.INTERNAL_ERROR, StepError("WORKERS_LOST", message))


def _run_timed_out(flow: CompiledFlow) -> StepError:
    return StepError("TIMEOUT", f"The run took longer than {flow.definition.timeout:g} seconds.")


def _encode_output(value: Any) -> str:
    return _encode(value, "output", "OUTPUT_TOO_LARGE")


def _encode(value: Any, what: str, code: str) -> str:
    try:
        return json_codec.encode(value, limit=json_codec.MAX_INPUT_BYTES, what=what)
    except InputTooLargeError as error:
        raise StepError(code, error.message, retryable=False) from None
    except InvalidArgumentError as error:
        raise StepError("OUTPUT_NOT_JSON", error.message, retryable=False) from None


def _storable(error: StepError) -> StepError:
    """`error` as the journal can keep it: actions raise whatever they like."""
    message = storable(error.message, MAX_MESSAGE)
    told = StepError(storable(error.code, MAX_CODE), message, retryable=error.retryable, details=error.details)
    try:
        _error_text(told)
    except (InputTooLargeError, InvalidArgumentError):
        told.details = None
    return told


def _error_values(step: str | None, error: StepError) -> dict[str, Any]:
    return {
        "failed_step_name": step,
        "error_code": error.code,
        "error_message": error.message,
        "error_fingerprint": fingerprint(step, error.code, error.message),
    }


def _error_document(error: StepError) -> dict[str, Any]:
    return {"code": error.code, "message": error.message, "details": error.details}


def _error_text(error: StepError) -> str:
    return json_codec.encode(_error_document(error), limit=json_codec.MAX_INPUT_BYTES, what="error")
