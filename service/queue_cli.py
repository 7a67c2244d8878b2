"""The commands `python -m service workers` and `queues`: who executes runs, and what waits, through the API."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click

from domain.enums import QueueGroup
from domain.time import clock
from service.remote import Output, RemoteCommand, connecting

_WORKERS = """query($first: Int!) { workers(first: $first) { totalCount nodes {
    id host processId version status concurrency executing free startedAt heartbeatAt
    runs(first: 20) { id status startedAt flow { name } } } } }"""
_QUEUES = """query($by: QueueGroup!, $first: Int!) { queues(by: $by, first: $first) {
    project { name } flow { name } priority due oldestDueAt waitingForSlot oldestWaitingAt executing later nextDueAt
    maxConcurrentRuns slotsInUse } }"""
_GROUPS = click.Choice([group.value for group in QueueGroup], case_sensitive=False)


@click.command(cls=RemoteCommand, help="List the workers, and the runs that each executes now.")
@connecting
@click.option("--first", default=100, show_default=True, help="The number of workers, at most 1000.")
@click.pass_obj
def workers(output: Output, /, first: int) -> None:
    """List the workers."""
    page = output.client.query(_WORKERS, {"first": first})["workers"]
    texts = []
    for worker in page["nodes"]:
        place = f"{worker['host']}:{worker['processId']}  " if worker["host"] else ""
        texts.append(
            f"{worker['id']}  {worker['status']:<8}  {place}{worker['version']}"
            f"  {worker['executing']} of {worker['concurrency']} runs, {worker['free']} free"
            f"  since {worker['startedAt'][:19]}Z  heartbeat {_age(worker['heartbeatAt'])} ago"
        )
        texts += [f"    {run['id']}  {_age(run['startedAt'])}  {run['flow']['name']}" for run in worker["runs"]]
    output.value(page, *texts, f"{len(page['nodes'])} of {page['totalCount']} workers")


@click.command(cls=RemoteCommand, help="List the runs in the queue, in groups, the longest queue first.")
@connecting
@click.option("--by", type=_GROUPS, default="FLOW", show_default=True, help="What the runs of a row have in common.")
@click.option("--first", default=20, show_default=True, help="The number of rows, at most 1000.")
@click.pass_obj
def queues(output: Output, /, by: str, first: int) -> None:
    """List the queues."""
    found = output.client.query(_QUEUES, {"by": by, "first": first})["queues"]
    header = f"{'due':>8} {'oldest':>9} {'for slot':>9} {'oldest':>9} {'executing':>10} {'later':>8} {'slots':>9}"
    texts = [
        f"{row['due']:>8,} {_age(row['oldestDueAt']):>9} {row['waitingForSlot']:>9,} {_age(row['oldestWaitingAt']):>9}"
        f" {row['executing']:>10,} {row['later']:>8,} {_slots(row):>9}  {_name(row)}"
        for row in found
    ]
    output.value(found, header, *texts)


def _name(row: Mapping[str, Any]) -> str:
    """Returns what the runs of a row have in common."""
    owners = [row[each]["name"] for each in ("project", "flow") if row[each] is not None]
    return " / ".join(owners) or str(row["priority"])


def _slots(row: Mapping[str, Any]) -> str:
    return "" if row["maxConcurrentRuns"] is None else f"{row['slotsInUse']} of {row['maxConcurrentRuns']}"


def _age(instant: str | None) -> str:
    """Returns the time since an instant, in seconds, minutes, hours or days."""
    if instant is None:
        return ""
    seconds = max(0.0, (clock.now() - datetime.fromisoformat(instant)).total_seconds())
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
