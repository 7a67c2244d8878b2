"""One step of a run: condition → input → wait, or start → run → result.

The start of an attempt is journalled before it runs. Its result is journalled together with the start of the next
attempt, so that there is one transaction between two steps.
"""

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NoReturn

from db.core.database import Database
from db.runs import step_journal
from db.runs.claims import JournalRow
from db.runs.step_journal import Advance, AttemptResult, AttemptStart
from domain import ids
from domain.enums import RunStatus, StepStatus
from domain.ids import IdKind
from domain.log_context import log_fields
from domain.observation import spans
from domain.observation.observer import SILENT, AttemptOutcome, Observer
from domain.observation.spans import NO_SPAN, Attributes, Span
from domain.runs.run_log import LogLevel
from domain.runs.state_machine import FINISHED
from domain.time import clock
from engine.compiled_flow import CompiledStep, FlowCache
from engine.errors import StepError
from engine.execution import Execution, RunEnded, Suspended
from engine.run_output import AttemptRecorder
from engine.step_values import error_document, error_text, storable_error
from engine.steps import Launch, Resumed, StepCall, StepContext, StepKind, Wait

MAX_KEY_LENGTH = 200
"""Largest number of characters of an idempotency key that a step sends."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a step, or its resumption after a wait."""

    execution: Execution
    step: CompiledStep
    position: int
    number: int
    """Number of the attempt, from 1."""
    failures: int
    """Earlier attempts that failed. Interrupted attempts do not count against the step's retry policy."""
    started_at: datetime
    paused: JournalRow | None
    """The step's row in the journal if the attempt waited and is resumed."""

    @classmethod
    def at(cls, execution: Execution, position: int) -> "Attempt":
        """Returns the next attempt at the step at `position`."""
        step, row = execution.flow.steps[position], execution.steps.get(position)
        if row is None:
            return cls(execution, step, position, 1, 0, clock.now(), None)
        is_paused = row.status == StepStatus.PAUSED
        # A step that waited resumes the attempt that was started before the wait.
        number = row.attempts_count if is_paused else row.attempts_count + 1
        return cls(execution, step, position, number, row.failures, row.started_at, row if is_paused else None)

    @property
    def name(self) -> str:
        """Name of the step."""
        return self.step.definition.name

    @property
    def deadline(self) -> datetime | None:
        """The instant at which the step's timeout passes, for an attempt that waits; None: the step has no timeout."""
        timeout = self.step.definition.timeout
        if timeout is None:
            return None
        started_at = self.paused.attempt_started_at if self.paused is not None else None
        return (started_at or clock.now()) + timedelta(seconds=timeout)

    def idempotency_key(self) -> str:
        """Returns the key that the step sends, the same for all attempts and for retries that continue the operation.

        Raises:
            StepError: INPUT_INVALID, the template does not give a text of 1 to 200 characters.
        """
        template = self.step.idempotency_key
        if template is None:
            return f"{self.execution.operation_id}:{self.name}"
        key = self.execution.secrets.shown(template.render(self.execution.scope))
        if isinstance(key, int) and not isinstance(key, bool):
            key = str(key)
        if not isinstance(key, str) or not 1 <= len(key) <= MAX_KEY_LENGTH:
            message = f"`idempotencyKey` must be a text of 1 to {MAX_KEY_LENGTH} characters."
            raise StepError("INPUT_INVALID", message, retryable=False)
        return key

    def start(self, input_text: str | None, started_at: datetime | None = None) -> AttemptStart:
        """Returns the start of the attempt in the form that the journal stores; `input_text` is the rendered input."""
        step = self.step.definition
        return AttemptStart(self.position, step.name, step.display_name, step.kind, self.number, input_text, started_at)

    def result(
        self,
        status: StepStatus,
        *,
        output: str | None = None,
        error: StepError | None = None,
        sealed: str | None = None,
    ) -> AttemptResult:
        """Returns the result of the attempt in the form that the journal stores."""
        source = StepStatus.RUNNING if self.paused is None else StepStatus.PAUSED
        text = error_text(error) if error else None
        return AttemptResult(
            self.position, self.name, status, self.number, self.started_at, output, text, source, sealed
        )

    def log(self, message: str, level: LogLevel = LogLevel.INFO) -> None:
        """Write a line to the run's log."""
        self.execution.output.log(self.name, self.number, message, level)


class StepExecutor:
    """Executes the steps of claimed runs, each by its step kind."""

    def __init__(
        self, database: Database, flows: FlowCache, kinds: Mapping[str, StepKind], observer: Observer = SILENT
    ) -> None:
        self._database = database
        self._flows = flows
        self._kinds = kinds
        self._observer = observer

    async def run_step(self, execution: Execution, position: int) -> None:
        """Execute the step at `position`, unless it is finished.

        Raises:
            Suspended: the step waits, or will be attempted again later.
            RunEnded: the step failed, and the run fails with it.
        """
        row = execution.steps.get(position)
        if row is not None and row.status in FINISHED:
            return
        if execution.is_overdue:
            execution.abort(row, RunStatus.TIMEOUT, execution.timeout_error)
        attempt = Attempt.at(execution, position)
        if (parent := spans.current()) is NO_SPAN:
            await self._make(attempt)
        else:
            await self._make_in_span(attempt, parent)

    async def _make_in_span(self, attempt: Attempt, parent: Span) -> None:
        """Make an attempt that is traced. A step that pauses and is resumed has a span for each part."""
        end: Suspended | RunEnded | None = None
        step = attempt.step.definition
        attributes: Attributes = {
            "flowruns.step.name": step.name,
            "flowruns.step.kind": step.kind,
            "flowruns.step.attempt": attempt.number,
        }
        with parent.child(f"step {step.name}", attributes=attributes):
            try:
                await self._make(attempt)
            except (Suspended, RunEnded) as control:
                end = control
        if end is not None:
            raise end

    async def _make(self, attempt: Attempt) -> None:
        try:
            if attempt.paused is not None:
                await self._resume(attempt, attempt.paused)
            elif await self._check_condition(attempt):
                await self._start(attempt)
        except StepError as error:
            secrets = attempt.execution.secrets
            await secrets.refresh()
            await self._fail(attempt, storable_error(secrets.error(error, attempt.step.redacted_output)))

    async def _check_condition(self, attempt: Attempt) -> bool:
        """Skip the step if its `when` does not hold. Later attempts do not evaluate it again."""
        execution, when = attempt.execution, attempt.step.when
        if when is None or attempt.number > 1:
            return True
        try:
            execution.secrets.check_readable()
            holds: bool = when.render(execution.scope)
        except StepError as error:
            await self._record_start(attempt, None)
            # A later attempt would execute the step without its condition.
            raise StepError(error.code, error.message, retryable=False, details=error.details) from None
        if not holds:
            attempt.log("Skipped: its condition is false")
            await execution.journal.write(step_journal.skip, execution.take_pending_result(), attempt.start(None))
            execution.record_step(attempt.name, StepStatus.SKIPPED, None, None)
        return holds

    async def _start(self, attempt: Attempt) -> None:
        kind = self._kinds[attempt.step.definition.kind]
        secrets = attempt.execution.secrets
        started_at = clock.now()
        try:
            secrets.check_readable()
            rendered = attempt.step.input.render(attempt.execution.scope)
            shown = secrets.shown(rendered) if self._has_references(attempt) else rendered
            key = attempt.idempotency_key()
            wait = await kind.wait(shown, self._call(attempt))
            journal_input = wait.journal_input if wait is not None else None
            input_text = await secrets.input(
                attempt.step.redacted_input, shown if journal_input is None else journal_input
            )
        except StepError:
            await self._record_start(attempt, None)
            raise
        if isinstance(wait, Wait):
            await self._suspend(attempt, input_text, wait, started_at)
        elif isinstance(wait, Launch):
            await self._launch(attempt, input_text, wait)
        else:
            await self._record_start(attempt, input_text)
            # The values are read after the start is journalled, so that an attempt without them still has an input and
            # an error.
            takes_secrets = shown is not rendered and kind.secret_fields
            actual = await secrets.actual(rendered) if takes_secrets else shown
            await self._succeed(attempt, await self._run_with_timeouts(kind, attempt, actual, key))

    async def _resume(self, attempt: Attempt, paused: JournalRow) -> None:
        kind = self._kinds[attempt.step.definition.kind]
        resumed = await kind.resume(self._call(attempt), paused)
        if isinstance(resumed, Resumed):
            await self._succeed(attempt, resumed.output)
            return
        execution, deadline = attempt.execution, attempt.deadline
        if deadline is not None and deadline <= clock.now():
            message = f"The step took longer than {attempt.step.definition.timeout:g} seconds."
            await execution.abandon(attempt.position, attempt.number, f"Cancelled: {message}")
            raise StepError("TIMEOUT", message)
        of_attempt = (attempt.position, attempt.number) if resumed.for_children else None
        due_at = _earliest(resumed.due_at, deadline)
        await execution.journal.write(step_journal.wait_on, resumed.message, due_at, of_attempt)
        raise Suspended

    def _call(self, attempt: Attempt) -> StepCall:
        execution, step = attempt.execution, attempt.step
        return StepCall(
            self._database,
            self._flows,
            execution.run,
            attempt.position,
            attempt.number,
            step.definition,
            execution.scope,
            step.deferred,
            execution.secrets,
        )

    def _has_references(self, attempt: Attempt) -> bool:
        """True if the rendered input may refer to secrets, in its own templates or in the input that a parent passed
        on."""
        return bool(attempt.step.input.secrets) or attempt.execution.run.input_secrets is not None

    async def _record_start(self, attempt: Attempt, input_text: str | None) -> None:
        """Journal the result of the last attempt and the start of this one."""
        execution = attempt.execution
        result, start = execution.take_pending_result(), attempt.start(input_text)
        if not await execution.journal.write_batched(Advance(execution.lease, result, start)):
            await execution.journal.write(step_journal.advance, result, start)

    async def _suspend(self, attempt: Attempt, input_text: str, wait: Wait, started_at: datetime) -> NoReturn:
        """Journal that the step has been waiting since `started_at`, and end the claim. The step kind measures from
        `started_at`."""
        execution = attempt.execution
        attempt.log(wait.message)
        await execution.journal.write(
            step_journal.pause,
            execution.take_pending_result(),
            attempt.start(input_text, started_at),
            execution.secrets.text(wait.message),
            _earliest(wait.due_at, attempt.deadline),
            None if wait.request is None else _masked_texts(execution, wait.request),
            wait.children,
        )
        raise Suspended

    async def _launch(self, attempt: Attempt, input_text: str, launch: Launch) -> None:
        """Journal that the step has succeeded, in the transaction that creates the child runs: they must not start
        twice."""
        execution = attempt.execution
        result, start = execution.take_pending_result(), attempt.start(input_text)
        run_ids = await execution.journal.write(step_journal.launch, result, start, launch.children)
        output = [ids.encode(IdKind.RUN, run_id) for run_id in run_ids]
        execution.record_step(attempt.name, StepStatus.SUCCEEDED, output, None)
        self._observer.attempt_ended(attempt.step.definition.kind, AttemptOutcome.SUCCEEDED)

    async def _run_with_timeouts(self, kind: StepKind, attempt: Attempt, rendered: Any, idempotency_key: str) -> Any:
        """Returns the output; the attempt is bounded by the timeouts of its step and its run."""
        execution, step = attempt.execution, attempt.step.definition
        timeouts = [seconds for seconds in (step.timeout, execution.seconds_left) if seconds is not None]
        timeout = min(timeouts, default=None)
        flush = execution.journal.flush_output
        recorder = AttemptRecorder(execution.output, step.name, attempt.number, flush)
        run_id = execution.shown_id
        context = StepContext(run_id, step.name, attempt.number, idempotency_key, timeout, recorder)
        begun = time.perf_counter()
        try:
            with log_fields(step=step.name, attempt=attempt.number):
                return await clock.timeout(timeout, kind.run(rendered, context))
        except TimeoutError:
            raise StepError("TIMEOUT", f"The step took longer than {timeout:g} seconds.") from None
        except asyncio.CancelledError:
            # The worker stops, or the run was cancelled. While the lease is valid, buffered log lines must not be lost.
            await recorder.close()
            await flush()
            raise
        finally:
            self._observer.step_executed(step.kind, time.perf_counter() - begun)
            await recorder.close()

    async def _succeed(self, attempt: Attempt, output: Any) -> None:
        execution = attempt.execution
        await execution.secrets.refresh()
        # Later steps see the journalled value, so that a resumed run behaves the same.
        sealed = None
        if attempt.step.redacted_output:
            redacted = await execution.secrets.redacted(attempt.step.redacted_output, attempt.name, output)
            execution.redacted_outputs[attempt.name] = redacted.shown
            output, text, sealed = redacted.whole, redacted.text, redacted.sealed
        else:
            output, text = await execution.secrets.output(output)
        execution.pending_result = attempt.result(StepStatus.SUCCEEDED, output=text, sealed=sealed)
        self._observer.attempt_ended(attempt.step.definition.kind, AttemptOutcome.SUCCEEDED)
        execution.record_step(attempt.name, StepStatus.SUCCEEDED, output, None)

    async def _fail(self, attempt: Attempt, error: StepError) -> None:
        """Attempt the step again later, end the run, or continue with the next step, as the definition requires."""
        spans.current().fail(error.code)
        execution, step = attempt.execution, attempt.step.definition
        if execution.is_overdue:
            execution.pending_result = attempt.result(StepStatus.FAILED, error=error)
            self._observer.attempt_ended(step.kind, AttemptOutcome.FAILED)
            _log_failure(attempt, error, "the run has timed out", LogLevel.ERROR)
            raise RunEnded(RunStatus.TIMEOUT, step.name, execution.timeout_error) from error
        failures = attempt.failures + 1
        if error.retryable and failures < step.retry.attempts:
            delay = step.retry.delay_after(failures, random.random())  # noqa: S311 - spreads load, guards nothing
            # The server may ask for a longer delay, up to the longest delay of the policy.
            delay = max(delay, min(error.retry_after or 0.0, step.retry.max_delay))
            _log_failure(attempt, error, f"retrying in {delay:.1f} s", LogLevel.WARNING)
            self._observer.attempt_ended(step.kind, AttemptOutcome.RETRIED)
            await self._snooze(attempt, error, delay)
        execution.pending_result = attempt.result(StepStatus.FAILED, error=error)
        self._observer.attempt_ended(step.kind, AttemptOutcome.FAILED)
        if not step.continue_on_failure:
            _log_failure(attempt, error, "the run fails", LogLevel.ERROR)
            raise RunEnded(RunStatus.FAILED, step.name, error) from error
        _log_failure(attempt, error, "the run continues", LogLevel.ERROR)
        execution.record_step(attempt.name, StepStatus.FAILED, None, error_document(error))

    async def _snooze(self, attempt: Attempt, error: StepError, seconds: float) -> NoReturn:
        """End the claim until the next attempt: the delay may be long, and must survive this process."""
        left = attempt.execution.seconds_left
        due_at = clock.now() + timedelta(seconds=seconds if left is None else min(seconds, left))
        result = attempt.result(StepStatus.PENDING, error=error)
        await attempt.execution.journal.write(step_journal.snooze, result, due_at)
        raise Suspended


def _masked_texts(execution: Execution, request: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the row of an input request with secrets masked in its texts."""
    return {name: execution.secrets.text(value) if isinstance(value, str) else value for name, value in request.items()}


def _earliest(*instants: datetime | None) -> datetime | None:
    return min((instant for instant in instants if instant is not None), default=None)


def _log_failure(attempt: Attempt, error: StepError, consequence: str, level: LogLevel) -> None:
    attempt.log(f"Attempt {attempt.number} failed; {consequence}. {error}", level)
