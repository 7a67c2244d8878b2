"""Executes one claimed run: load → record interruption → check for poison → steps → finish.

A worker may be lost at any point. The next worker loads the journal. A step that is RUNNING there was interrupted, and
is attempted again.
"""

import logging
from collections.abc import Mapping
from typing import Any

from db.core.database import UNREADABLE, Database
from db.runs import changes, claims, step_journal
from db.runs.claims import Claimed, LeaseLostError
from db.runs.step_journal import End
from db.runs.transitions import Ending, Lease
from domain import ids, json_codec, reasons
from domain.enums import RunStatus, StepStatus
from domain.errors import FlowRunsError
from domain.ids import IdKind
from domain.json_codec import KIB
from domain.log_context import log_fields
from domain.observation import spans
from domain.observation.observer import SILENT, Observer
from domain.observation.spans import NO_TRACES, Attributes, Tracer
from domain.runs.run_log import LogLevel, storable
from domain.time import clock
from engine.attempt import StepExecutor
from engine.compiled_flow import FlowCache
from engine.errors import StepError
from engine.execution import Execution, RunEnded, Suspended, failed_with_run, unfinished_step
from engine.run_output import OutputLimits
from engine.secrets.key_ring import NO_KEYS
from engine.secrets.run_secrets import RunSecrets
from engine.secrets.store import SecretStore
from engine.step_values import error_columns, storable_error
from engine.steps import StepKind

_logger = logging.getLogger(__name__)

MAX_INTERRUPTIONS = 5
"""Workers that may be lost in succession while they execute a run without progress. When one more is lost, the run
ends."""

MAX_SUMMARY = 200
"""Largest number of characters of a run's summary: more does not fit into a line of a list. Longer ones are cut."""
MAX_SUMMARY_BYTES = 64 * KIB
"""Largest size of the value from which a summary is made."""


class Executor:
    """Executes claimed runs."""

    def __init__(
        self,
        database: Database,
        flows: FlowCache,
        kinds: Mapping[str, StepKind],
        limits: OutputLimits | None = None,
        secrets: SecretStore | None = None,
        observer: Observer = SILENT,
        tracer: Tracer = NO_TRACES,
    ) -> None:
        """`kinds` are the opened step kinds, by name; `limits` bound the log lines and files of runs.

        Without `secrets`, no secret can be decrypted.
        """
        self._database = database
        self._flows = flows
        self._limits = limits or OutputLimits()
        self._secrets = secrets or SecretStore(database, NO_KEYS)
        self._observer = observer
        self._tracer = tracer
        self._steps = StepExecutor(database, flows, kinds, observer)

    async def execute(self, claimed: Claimed) -> None:
        """Execute the run to its end, or until it is suspended. Errors end the run and are not raised."""
        if self._tracer is NO_TRACES:
            await self._execute_safely(claimed)
            return
        run = claimed.run
        attributes: Attributes = {
            "flowruns.run.id": ids.encode(IdKind.RUN, run.id),
            "flowruns.flow.id": ids.encode(IdKind.FLOW, run.flow_id),
            "flowruns.run.attempt": run.attempt,
            "flowruns.run.trigger": run.trigger_method,
        }
        with self._tracer.run(run.id, run.trace_parent, attributes):
            await self._execute_safely(claimed)

    async def _execute_safely(self, claimed: Claimed) -> None:
        lease = claimed.lease
        with log_fields(run_id=ids.encode(IdKind.RUN, lease.run_id)):
            try:
                await self._execute(claimed)
            except LeaseLostError:
                _logger.warning("lease lost")
                self._observer.lease_lost()
            except UNREADABLE as error:
                # The lease expires, and the next worker resumes the run from its journal.
                _logger.warning(
                    "database unavailable while executing a run", extra={"reason": reasons.of_database(error)}
                )
            except Exception:
                _logger.exception("internal error while executing a run")
                await self._end_after_internal_error(lease)

    async def _execute(self, claimed: Claimed) -> None:
        flow = await self._flows.get(claimed.run.flow_version_id)
        secrets = RunSecrets(self._secrets, claimed.run.project_id, claimed.run.environment)
        await secrets.refresh()
        execution = Execution.load(self._database, claimed, flow, self._limits, secrets)
        try:
            await _record_interruption(execution)
            _fail_poison_run(execution)
            await _summarize(execution)
            for position in range(len(flow.steps)):
                await self._steps.run_step(execution, position)
            output = await _encode_run_output(execution)
            await self._finish(execution, RunStatus.SUCCEEDED, "Run succeeded", {"output": output})
        except RunEnded as end:
            message = f"Step {end.step_name!r}: {end.error.message}" if end.step_name else end.error.message
            await self._finish(execution, end.status, message, error_columns(end.step_name, end.error))
        except Suspended:
            return

    async def _finish(self, execution: Execution, status: RunStatus, message: str, columns: dict[str, Any]) -> None:
        await _finish(execution, status, message, columns)
        self._ended(status)

    def _ended(self, status: RunStatus) -> None:
        self._observer.run_ended(status)
        span = spans.current()
        span.set("flowruns.run.status", status)
        if status != RunStatus.SUCCEEDED:
            span.fail(status)

    async def _end_after_internal_error(self, lease: Lease) -> None:
        error = StepError("INTERNAL_ERROR", "The service failed while executing the run.")
        try:
            claimed = await self._database.read(claims.load, lease)
            step = unfinished_step(claimed.steps)
            columns = error_columns(step.name if step else None, error)
            columns["duration_ms"] = clock.milliseconds_since(claimed.run.started_at)
            result = failed_with_run(step, error, StepStatus(step.status)) if step else None
            if step is not None and step.status == StepStatus.PAUSED:
                waits = (claimed.run.root_run_id, step.position, step.attempts_count)
                await self._database.write(step_journal.abandon, lease, *waits, f"Cancelled: {error.message}")
            await self._database.write(
                step_journal.finish, lease, result, RunStatus.INTERNAL_ERROR, error.message, columns, is_retry=False
            )
            self._ended(RunStatus.INTERNAL_ERROR)
        except (LeaseLostError, *UNREADABLE) as cause:
            fields = {"reason": type(cause).__name__}
            _logger.warning("run not ended after an internal error", extra=fields)


async def _record_interruption(execution: Execution) -> None:
    """Journal that the attempt that was running at the claim has been interrupted."""
    step = unfinished_step(execution.steps.values())
    if step is not None and step.status == StepStatus.RUNNING:
        message = "The attempt was interrupted: its worker was lost"
        execution.output.log(step.name, step.attempts_count, message, LogLevel.WARNING)
        await execution.journal.write(step_journal.interrupt, step.position)


def _fail_poison_run(execution: Execution) -> None:
    """End a run that has lost too many workers: the run itself may crash them."""
    lost = execution.run.interruptions
    if lost > MAX_INTERRUPTIONS:
        error = StepError(
            "WORKERS_LOST", f"The run was given up: {lost} workers were lost in succession while they executed it."
        )
        execution.abort(unfinished_step(execution.steps.values()), RunStatus.INTERNAL_ERROR, error)


async def _summarize(execution: Execution) -> None:
    """Write the summary of a run that has none yet. A template that cannot be rendered gives no summary."""
    template = execution.flow.summary
    if template is None or execution.run.summary is not None:
        return
    try:
        text = _one_line(execution.secrets, template.render(execution.scope))
    except (StepError, FlowRunsError) as error:
        reason = execution.secrets.text(error.message)
        _logger.info("summary of a run not rendered", extra={"reason": reason})
        return
    if text:
        await execution.journal.write(changes.set_summary, text)


def _one_line(secrets: RunSecrets, value: Any) -> str:
    """Returns a rendered value as one line, with values of secrets masked."""
    text = value if isinstance(value, str) else json_codec.encode(value, limit=MAX_SUMMARY_BYTES, what="summary")
    line = " ".join(secrets.text(text).split())
    return storable(line if len(line) <= MAX_SUMMARY else f"{line[: MAX_SUMMARY - 1]}…", MAX_SUMMARY)


async def _encode_run_output(execution: Execution) -> str:
    """Returns the output of a run whose steps have all ended.

    Raises:
        RunEnded: the output cannot be rendered or stored.
    """
    template = execution.flow.output
    try:
        if template is None:
            output = execution.last_output
        else:
            execution.secrets.check_readable()
            output = template.render(execution.scope)
        _, text = await execution.secrets.output(output)
    except StepError as error:
        if template is None:
            raise
        raise RunEnded(RunStatus.FAILED, None, storable_error(execution.secrets.error(error))) from error
    return text


async def _finish(execution: Execution, status: RunStatus, message: str, columns: dict[str, Any]) -> None:
    """Journal the result of the last attempt and the end of the run."""
    if (step := execution.abandoned) is not None:
        await execution.abandon(step.position, step.attempts_count, f"Cancelled: {message}")
    run, result = execution.run, execution.take_pending_result()
    columns["duration_ms"] = clock.milliseconds_since(run.started_at)
    is_retry = run.retry_of_id is not None
    # The end of a child run or of a retry concerns other runs, too, so it is not written in a batch.
    has_relatives = is_retry or run.parent_run_id is not None
    if not has_relatives:
        end = End(execution.lease, result, Ending(status, message, columns))
        if await execution.journal.write_batched(end):
            return
    ending = (result, status, message, columns)
    await execution.journal.write(step_journal.finish, *ending, is_retry=is_retry, has_relatives=has_relatives)
