"""Alerts about schedules whose runs no worker starts, and about everything that waits, while no worker runs at all."""

from datetime import timedelta
from typing import Any

from pydantic import SecretStr

from db.assembly import open_database
from db.queue import workers
from db.queue.workers import WorkerIdentity
from domain import ids
from domain.enums import RunStatus
from domain.ids import IdKind
from domain.time import clock
from engine.alerts.standby import INTERVAL_SECONDS, AlertStandby
from service.asgi import create_service
from service.settings import Settings
from tests.engine.alerts.conftest import Alerting, run_id
from tests.engine.deliveries.conftest import new_relay

SCHEDULE = """mutation($input: CreateScheduleInput!) { it: createSchedule(input: $input) {
    ... on CreateScheduleSuccess { schedule { id } } ... on UserError { code message } } }"""
MINUTES_10 = 600_000


async def schedule(alerting: Alerting, **more: Any) -> str:
    """Creates a schedule that fires each hour, at first in one hour; returns its ID."""
    flow_id = ids.encode(IdKind.FLOW, alerting.flow.flow_id)
    given = {"flowId": flow_id, "cron": "0 * * * *", "input": {}, **more}
    made: str = (await alerting.app.query(SCHEDULE, {"input": given}))["it"]["schedule"]["id"]
    return made


def standby(alerting: Alerting) -> AlertStandby:
    """Returns the standby of an API process, which sends to the mailbox."""
    return AlertStandby(alerting.app.database, new_relay(alerting.app), alerting.notifier)


async def report_worker(alerting: Alerting, identity: WorkerIdentity, *, draining: bool = False) -> None:
    await alerting.app.database.write(lambda uow: workers.report(uow, identity, [], draining=draining))


async def test_schedules_that_no_worker_serves_are_one_message(alerting: Alerting) -> None:
    alert = await alerting.alert(condition="LATE", threshold=MINUTES_10, filter={"tags": ["billing"]})
    for _ in range(2):
        await schedule(alerting, tags=["billing"])
    await schedule(alerting, tags=["other"])
    await schedule(alerting, tags=["billing"], enabled=False)
    await alerting.send()
    await alerting.send(after=3_600 + 590)
    await alerting.send(after=40)
    assert alerting.mailbox.mails == []
    await alerting.send(after=30)
    (mail,) = alerting.mailbox.mails
    assert mail["subject"] == "Invoices: 2 schedules late"
    assert "No worker has started their runs for 600,000 ms" in alerting.mailbox.text()
    (sent,) = await alerting.notifications(alert)
    assert (sent["count"], sent["run"], sent["flow"]) == (2, None, {"name": "Invoices"})
    # A schedule that is late is counted once, until a worker has served it.
    await alerting.send(after=7_200)
    assert len(alerting.mailbox.mails) == 1


async def test_schedule_that_cannot_start_its_flow_is_not_late(alerting: Alerting) -> None:
    await alerting.alert(condition="LATE", threshold=MINUTES_10)
    await schedule(alerting)
    flow_id = ids.encode(IdKind.FLOW, alerting.flow.flow_id)
    await alerting.app.query(
        "mutation($id: ID!) { updateFlow(flowId: $id, enabled: false) { __typename } }", {"id": flow_id}
    )
    await alerting.send()
    for seconds in (4_300, 60):
        await alerting.send(after=seconds)
    assert alerting.mailbox.mails == []


async def test_api_process_sends_alerts_only_while_no_worker_runs(alerting: Alerting) -> None:
    late = await alerting.alert(condition="LATE", threshold=MINUTES_10)
    identity = WorkerIdentity(ids.new_uuid(), "host", 1, "1", 8, clock.now())
    await schedule(alerting)
    (waiting,) = await alerting.runs((RunStatus.QUEUED,), due_at=clock.now() + timedelta(hours=1))
    beside = standby(alerting)
    await report_worker(alerting, identity)
    assert await beside.work() == INTERVAL_SECONDS
    alerting.clock.block(3_600)
    # The worker is lost, and nothing is late yet.
    await beside.work()
    alerting.clock.block(610)
    await report_worker(alerting, identity)
    await beside.work()
    alerting.clock.block(60)
    await beside.work()
    alerting.clock.block(30)
    assert await beside.work() > 0
    subjects = sorted(mail["subject"] for mail in alerting.mailbox.mails)
    assert subjects == ["Invoices: 1 run late", "Invoices: 1 schedule late"]
    runs = [sent["run"] for sent in await alerting.notifications(late)]
    assert sorted(runs, key=str) == sorted([None, {"id": run_id(waiting)}], key=str)


async def test_api_process_has_a_standby(alerting: Alerting, database_url: str) -> None:
    await alerting.alert(condition="LATE", threshold=MINUTES_10)
    await schedule(alerting)
    settings = Settings(
        database_url=database_url, smtp_url=SecretStr(alerting.smtp_url), secret_keys=SecretStr(alerting.secret_key)
    )
    database = open_database(database_url)
    alerting.clock.watch(database)
    service = create_service(settings, database, ids.new_uuid(), with_worker=False, with_standby=True)
    async with service.app.router.lifespan_context(service.app):
        await alerting.clock.settle()
        alerting.clock.block(3_600 + 600)
        await alerting.clock.advance(60)
    assert [mail["subject"] for mail in alerting.mailbox.mails] == ["Invoices: 1 schedule late"]
