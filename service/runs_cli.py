"""The commands `python -m service runs …`: runs from the command line, through the API."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import click

from service.api_client import ApiClient, ApiError
from service.remote import Output, RemoteGroup, connecting

_RUN = "id status createdAt durationMs failedStepName flow { name } error { message }"
_ERROR = "... on UserError { code message } ... on InputInvalid { problems { path message } }"
_LIST = f"""query($filter: FlowRunFilter, $first: Int!) {{ flowRuns(filter: $filter, first: $first) {{
    totalCount(limit: 10001) nodes {{ {_RUN} }} }} }}"""
_FLOWS = "query($name: String!) { flows(filter: {nameContains: $name}, first: 1000) { nodes { id name } } }"
_START = f"""mutation($input: StartRunInput!) {{ result: startRun(input: $input) {{ __typename
    ... on StartRunSuccess {{ run {{ {_RUN} output }} }} {_ERROR} }} }}"""
_RESUME = f"""mutation($run: ID!, $request: ID!, $response: JSON!) {{
    result: resumeRun(runId: $run, requestId: $request, response: $response) {{ __typename
    ... on ResumeRunSuccess {{ run {{ {_RUN} }} }} {_ERROR} }} }}"""
_PENDING = "query($id: ID!) { flowRun(id: $id) { status pendingInputs { id title } } }"
_OPERATION = "id status matched processed succeeded skipped failed reasons { reason count }"
_PLANNED = f"""{_OPERATION} plan {{ planId eligible ineligible {{ reason count }} }}"""
_CANCEL = f"""mutation($filter: FlowRunFilter, $plan: ID, $dry: Boolean!) {{
    result: bulkCancel(filter: $filter, planId: $plan, dryRun: $dry) {{ __typename
    ... on BulkOperationSuccess {{ operation {{ {_PLANNED} }} }} ... on UserError {{ code message }} }} }}"""
_RETRY = f"""mutation($filter: FlowRunFilter, $plan: ID, $dry: Boolean!, $strategy: RetryStrategy, $pace: Float) {{
    result: bulkRetry(filter: $filter, planId: $plan, dryRun: $dry, strategy: $strategy, maxPerSecond: $pace) {{
    __typename ... on BulkOperationSuccess {{ operation {{ {_PLANNED} }} }} ... on UserError {{ code message }} }} }}"""
_PROGRESS = f"""subscription($id: ID!, $after: String) {{ bulkOperationProgressed(id: $id, after: $after) {{
    cursor operation {{ {_OPERATION} }} }} }}"""
_WATCH_RUN = """subscription($id: ID!, $after: String) { flowRunProgressed(runId: $id, after: $after) { __typename
    ... on FlowRunStatusChanged { cursor runId status change { at message } }
    ... on StepChanged { cursor runId stepName stepStatus attempt error { message } }
    ... on LogLinesAppended { cursor runId lines { at level stepName message } }
    ... on CaughtUp { cursor } } }"""
_WATCH = f"""subscription($filter: FlowRunFilter, $after: String) {{
    flowRunStatusChanged(filter: $filter, after: $after) {{ __typename
    ... on FlowRunStatusChanged {{ cursor runId matches status change {{ at message }} run {{ {_RUN} }} }}
    ... on FlowRunUpdated {{ cursor runId matches kind run {{ {_RUN} }} }}
    ... on CaughtUp {{ cursor }} }} }}"""
_FINAL = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})
"""Statuses of a bulk operation that has ended."""


class _Json(click.ParamType[Any]):
    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Returns the JSON value in the text."""
        try:
            return json.loads(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(f"is not JSON: {error}", param, ctx)


_JSON = _Json()
_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--status", "statuses", multiple=True, help="Runs with this status; may be repeated."),
    click.option("--flow", "flows", multiple=True, help="Runs of the flow with this name or ID; may be repeated."),
    click.option("--tag", "tags", multiple=True, help="Runs with this tag; repeated, with all of them."),
    click.option("--since", help="Runs created within this time before now, such as PT1H or P1D."),
    click.option("--filter", "more", type=_JSON, help="Further fields of a FlowRunFilter, as a JSON object."),
)


def _filtered(command: Callable[..., Any]) -> Callable[..., Any]:
    for add in reversed(_OPTIONS):
        command = add(command)
    return command


@click.group(cls=RemoteGroup, help="List, watch, start, retry, cancel and resume runs, through the API of a service.")
@connecting
def runs() -> None:
    """Connect the commands below."""


@runs.command("list", help="List runs, the newest first.")
@_filtered
@click.option("--first", default=20, show_default=True, help="The number of runs, at most 1000.")
@click.pass_obj
def list_runs(output: Output, /, first: int, **where: Any) -> None:
    """List runs."""
    page = output.client.query(_LIST, {"filter": _filter(output.client, **where), "first": first})["flowRuns"]
    total = page["totalCount"]
    more = f"{len(page['nodes'])} of {'more than 10,000' if total > 10_000 else f'{total:,}'} runs"
    output.value(page, *map(_line, page["nodes"]), more)


@runs.command(
    help="Print changes as they happen: the changes of RUN, its steps and its log until it ends, or the "
    "changes of all runs."
)
@click.argument("run", required=False)
@_filtered
@click.pass_obj
def watch(output: Output, /, run: str | None, **where: Any) -> None:
    """Watch."""
    if run is not None:
        events = output.client.stream(_WATCH_RUN, {"id": run})
    else:
        events = output.client.stream(_WATCH, {"filter": _filter(output.client, **where)})
    for event in events:
        if event["__typename"] != "CaughtUp":
            output.value(event, *_event_lines(event))


@runs.command(help="Start a run of FLOW, a name or an ID.")
@click.argument("flow")
@click.option("--input", "value", type=_JSON, default="{}", help="The input, as JSON.")
@click.option("--tag", "tags", multiple=True, help="A tag of the run; may be repeated.")
@click.option("--environment", type=click.Choice(["PRODUCTION", "TESTING"]), default="PRODUCTION")
@click.option("--idempotency-key", help="Identifies repetitions: only the first request with a key starts a run.")
@click.option("--wait", "wait_ms", type=click.IntRange(0, 60_000), help="Milliseconds to wait for the end of the run.")
@click.pass_obj
def start(output: Output, /, flow: str, value: Any, tags: tuple[str, ...], **more: Any) -> None:
    """Start a run."""
    given = {
        "flowId": _flow_id(output.client, flow),
        "input": value,
        "tags": list(tags),
        "environment": more["environment"],
        "idempotencyKey": more["idempotency_key"],
        "waitMs": more["wait_ms"],
        "triggerMethod": "MANUAL",
    }
    run = output.client.mutate(_START, {"input": given})["run"]
    output.value(run, _line(run))


@runs.command(help="Answer the question for which RUN waits with RESPONSE, a JSON value.")
@click.argument("run")
@click.argument("response", type=_JSON)
@click.option("--request", help="The ID of the input request. Default: the only open one.")
@click.pass_obj
def resume(output: Output, /, run: str, response: Any, request: str | None) -> None:
    """Resume a run."""
    if request is None:
        found = output.client.query(_PENDING, {"id": run})["flowRun"]
        pending = found["pendingInputs"] if found is not None else []
        if len(pending) != 1:
            asked = "".join(f"\n  {each['id']}  {each['title']}" for each in pending)
            raise ApiError(f"{run} has {len(pending)} open input requests.{asked}")
        request = pending[0]["id"]
    answered = output.client.mutate(_RESUME, {"run": run, "request": request, "response": response})["run"]
    output.value(answered, _line(answered))


def _bulk(command: Callable[..., Any]) -> Callable[..., Any]:
    options: tuple[Callable[[Any], Any], ...] = (
        click.argument("run_ids", nargs=-1),
        click.option("--dry-run", is_flag=True, help="Change nothing: print how many runs are eligible."),
        click.option("--yes", is_flag=True, help="Do not ask for confirmation."),
    )
    command = _filtered(command)
    for add in reversed(options):
        command = add(command)
    return command


@runs.command(help="Cancel the runs with these IDs, or all that match the filter.")
@_bulk
@click.pass_obj
def cancel(output: Output, /, **given: Any) -> None:
    """Cancel runs."""
    _operate(output, _CANCEL, {}, "Cancel", **given)


@runs.command(help="Retry the runs with these IDs, or all that match the filter.")
@_bulk
@click.option("--strategy", default="FROM_FAILED_STEP", show_default=True, help="Where retries start.")
@click.option("--max-per-second", type=float, help="The pace of the retries.")
@click.pass_obj
def retry(output: Output, /, strategy: str, max_per_second: float | None, **given: Any) -> None:
    """Retry runs."""
    _operate(output, _RETRY, {"strategy": strategy, "pace": max_per_second}, "Retry", **given)


def _operate(
    output: Output,
    document: str,
    start: Mapping[str, Any],
    verb: str,
    *,
    run_ids: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    **where: Any,
) -> None:
    """Plans a bulk operation, asks, and executes the plan on exactly the runs that it found, with a progress bar."""
    selected = {"ids": list(run_ids)} if run_ids else _filter(output.client, **where)
    planned = output.client.mutate(document, {**start, "filter": selected, "dry": True})["operation"]
    plan = planned["plan"]
    skipped = "".join(f"\n  {each['count']:,} skipped: {each['reason']}" for each in plan["ineligible"])
    if dry_run or not plan["eligible"]:
        output.value(planned, f"{plan['eligible']:,} of {planned['matched']:,} runs are eligible.{skipped}")
        return
    if not yes:
        click.confirm(f"{verb} {plan['eligible']:,} of {planned['matched']:,} runs?{skipped}\n", abort=True, err=True)
    pace = {"pace": start["pace"]} if "pace" in start else {}
    begun = output.client.mutate(document, {"plan": plan["planId"], "dry": False, **pace})["operation"]
    done = _followed(output, begun)
    reasons = (f"  {each['count']:,} skipped: {each['reason']}" for each in done["reasons"])
    output.value(
        done, f"{done['succeeded']:,} of {done['matched']:,} runs changed, {done['failed']:,} failed.", *reasons
    )
    if done["failed"]:
        raise ApiError(f"{done['failed']:,} runs could not be changed: see the outcomes of {done['id']}.")


def _followed(output: Output, operation: dict[str, Any]) -> dict[str, Any]:
    """Returns the operation after its end, and shows a progress bar until then."""
    if operation["status"] in _FINAL:
        return operation
    with click.progressbar(length=operation["matched"], label="Runs", file=sys.stderr) as bar:
        for event in output.client.stream(_PROGRESS, {"id": operation["id"]}):
            operation = event["operation"]
            bar.update(operation["processed"] - bar.pos)
    return operation


def _filter(client: ApiClient, **where: Any) -> dict[str, Any]:
    """Returns the FlowRunFilter of the options."""
    found = dict(where["more"] or {})
    for name in ("statuses", "tags"):
        if where[name]:
            found[name] = list(where[name])
    if where["flows"]:
        found["flowIds"] = [_flow_id(client, flow) for flow in where["flows"]]
    if where["since"]:
        found["createdWithin"] = where["since"]
    return found


def _flow_id(client: ApiClient, flow: str) -> str:
    if flow.startswith("flow_"):
        return flow
    nodes = client.query(_FLOWS, {"name": flow})["flows"]["nodes"]
    named: list[str] = [node["id"] for node in nodes if node["name"] == flow]
    if len(named) != 1:
        similar = ", ".join(sorted(node["name"] for node in nodes)[:5])
        raise ApiError(f"{len(named)} flows are called {flow!r}." + (f" Similar ones: {similar}." if similar else ""))
    return named[0]


def _line(run: Mapping[str, Any]) -> str:
    """Returns one line that describes a run."""
    lasted = "" if run["durationMs"] is None else f"{int(run['durationMs']) / 1_000:.1f} s"
    error = f"  {run['failedStepName'] or ''}: {run['error']['message']}" if run["error"] else ""
    return f"{run['id']}  {run['status']:<14}  {run['createdAt'][:19]}Z  {lasted:>9}  {run['flow']['name']}{error}"


def _event_lines(event: Mapping[str, Any]) -> Iterable[str]:
    """Yields the lines that describe an event."""
    match event["__typename"]:
        case "LogLinesAppended":
            for line in event["lines"]:
                yield f"{line['at'][:23]}  {line['level']:<7}  {line['stepName'] or ''}  {line['message']}"
        case "StepChanged":
            error = f"  {event['error']['message']}" if event["error"] else ""
            yield f"step {event['stepName']} #{event['attempt']}  {event['stepStatus']}{error}"
        case "FlowRunUpdated":
            yield f"{event['runId']}  {event['kind']}"
        case _:
            leaves = "" if event.get("matches", True) else "  (leaves the list)"
            yield f"{event['change']['at'][:23]}  {event['runId']}  {event['status']}{leaves}"
