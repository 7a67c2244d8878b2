"""Alerts over a real mail server: what is sent, how equal events become one message, and what is refused."""

from datetime import timedelta
from typing import Any

from sqlalchemy import select, update

from db.alerts import notifications
from db.deliveries import endpoints, relay
from db.models import Alert, AlertGroup, Notification
from db.models.types import table
from db.sql.rows import fetch_all
from domain import ids
from domain.enums import RunStatus
from domain.ids import IdKind
from domain.outbound.delivery import DisabledReason
from domain.time import clock
from tests.engine.alerts.conftest import CREATE, Alerting, run_id
from tests.engine.deliveries import conftest as deliveries
from tests.support import factory

FAILED = (RunStatus.FAILED,)
SUCCEEDED = (RunStatus.SUCCEEDED,)
TEST = """mutation($id: ID!) { it: testAlert(id: $id) {
    ... on TestAlertSuccess { notification { id status isTest } } ... on UserError { code } } }"""
UPDATE = """mutation($input: UpdateAlertInput!) { it: updateAlert(input: $input) {
    ... on UpdateAlertSuccess { alert { threshold enabled condition } }
    ... on AlertInvalid { problems { path message } } ... on UserError { code message } } }"""
DELETE = """mutation($id: ID!) { it: deleteAlert(id: $id) { ... on DeleteAlertSuccess { alertId } } }"""
ERROR = {"error_code": "HTTP_STATUS", "error_message": "It answered 503", "failed_step_name": "pay"}


async def test_4000_equal_failures_are_one_message(alerting: Alerting) -> None:
    alert = await alerting.alert(target="mailto:ops@example.com,lead@example.com", filter={"tags": ["billing"]})
    last = (await alerting.runs(FAILED, 4_000, tags=["billing"], error_fingerprint="f1", **ERROR))[-1]
    await alerting.runs(FAILED, 3, tags=["other"], error_fingerprint="f1", **ERROR)
    await alerting.runs((RunStatus.STOPPED,), tags=["billing"])
    await alerting.send()
    assert alerting.mailbox.mails == []
    await alerting.send(after=30)
    (mail,) = alerting.mailbox.mails
    assert (mail["to"], mail["auto-submitted"]) == ("ops@example.com, lead@example.com", "auto-generated")
    assert mail["subject"] == "Invoices: 4,000 runs failed"
    assert f"Last run: {run_id(last)} (FAILED, PRODUCTION)" in alerting.mailbox.text()
    assert "Error: HTTP_STATUS in step pay: It answered 503" in alerting.mailbox.text()
    (sent,) = await alerting.notifications(alert)
    assert (sent["status"], sent["count"], sent["run"]) == ("SENT", 4_000, {"id": run_id(last)})
    # Within the quiet period equal failures are collected; another error is a message of its own.
    await alerting.runs(FAILED, 5, tags=["billing"], error_fingerprint="f1", **ERROR)
    await alerting.runs(FAILED, 1, tags=["billing"], error_fingerprint="f2", **ERROR)
    await alerting.send(after=60)
    assert [each["subject"] for each in alerting.mailbox.mails[1:]] == ["Invoices: 1 run failed"]
    await alerting.send(after=3_600)
    assert [each["subject"] for each in alerting.mailbox.mails[2:]] == ["Invoices: 5 runs failed"]
    await alerting.send(after=3_600)
    assert len(alerting.mailbox.mails) == 3


async def test_conditions(alerting: Alerting) -> None:
    new_error = await alerting.alert(condition="NEW_ERROR")
    in_a_row = await alerting.alert(condition="CONSECUTIVE_FAILURES", threshold=3)
    slow = await alerting.alert(condition="SLOW")
    late = await alerting.alert(condition="LATE", threshold=60_000)
    disabled = await alerting.alert(condition="ENDPOINT_DISABLED")
    yesterday = clock.now() - timedelta(days=1)
    await alerting.app.database.write(
        lambda uow: factory.make_runs(
            uow, alerting.flow, [{"status": RunStatus.FAILED, "error_fingerprint": "old", "finished_at": yesterday}]
        )
    )
    await alerting.runs(SUCCEEDED, 25, duration_ms=1_000)
    await alerting.runs(FAILED, 2, error_fingerprint="old", **ERROR)
    await alerting.runs(SUCCEEDED, 1, duration_ms=1_900)
    (slowest,) = await alerting.runs(SUCCEEDED, 1, duration_ms=2_100)
    await alerting.send(after=30)
    assert [each["run"]["id"] for each in await alerting.notifications(slow)] == [run_id(slowest)]
    assert await alerting.notifications(in_a_row) == await alerting.notifications(new_error) == []

    await alerting.runs(FAILED, 2, error_fingerprint="new", **ERROR)
    (waiting,) = await alerting.runs((RunStatus.QUEUED,), due_at=clock.now())
    await alerting.runs(FAILED, 1, error_fingerprint="old", **ERROR)
    await alerting.send(after=30)
    assert [each["count"] for each in await alerting.notifications(new_error)] == [2]
    assert [each["count"] for each in await alerting.notifications(in_a_row)] == [3]
    await alerting.runs(FAILED, 1, error_fingerprint="new", **ERROR)
    await alerting.send(after=61)
    assert await alerting.notifications(late) == []
    for _ in range(2):  # counted, and then sent
        await alerting.send(after=30)
    assert [(each["count"], each["run"]["id"]) for each in await alerting.notifications(late)] == [(1, run_id(waiting))]
    assert len(await alerting.notifications(new_error)) == 1

    made = await alerting.app.query(
        deliveries.CREATE, {"input": {"name": "CRM", "url": "https://crm.example/", "filter": {"tags": ["none"]}}}
    )
    endpoint = made["it"]["endpoint"]["id"]
    key = ids.decode(IdKind.ENDPOINT, endpoint)
    await alerting.app.database.write(endpoints.switch_off, key, DisabledReason.GONE, clock.now())
    await alerting.send(after=30)
    assert [each["endpoint"] for each in await alerting.notifications(disabled)] == [{"id": endpoint}]
    assert "endpoint CRM disabled" in alerting.mailbox.text()
    assert "It answered 410 Gone." in alerting.mailbox.text()


async def test_message_that_is_refused_is_sent_later_and_a_killed_worker_loses_none(alerting: Alerting) -> None:
    alert = await alerting.alert()
    await alerting.runs(FAILED, 2, error_fingerprint="f1", **ERROR)
    alerting.mailbox.answer = "451 not now"
    await alerting.send(after=30)
    (refused,) = await alerting.notifications(alert)
    assert (refused["status"], refused["message"]) == ("PENDING", "The mail server answered 451.")
    alerting.mailbox.answer = "250 OK"
    # A worker that is killed between the claim and the record.
    alerting.clock.block(10)
    token = ids.new_uuid()
    lease = timedelta(minutes=2)
    assert await alerting.app.database.write(notifications.claim, token, clock.now(), lease, 10)
    await alerting.send(after=60)
    assert alerting.mailbox.mails == []
    await alerting.send(after=60)
    (sent,) = await alerting.notifications(alert)
    assert (sent["status"], sent["attemptCount"], sent["message"], sent["count"]) == ("SENT", 2, None, 2)
    assert len(alerting.mailbox.mails) == 1


async def test_events_are_counted_once_by_two_relays(alerting: Alerting) -> None:
    await alerting.alert()
    second = deliveries.new_relay(alerting.app)
    await alerting.runs(FAILED, 700, error_fingerprint="f1", **ERROR)
    await alerting.relay.drain()
    await alerting.app.database.write(relay.release, None)
    await second.drain()
    count = await alerting.app.database.read(lambda conn: conn.execute(select(table(AlertGroup).c.count)).scalar_one())
    assert count == 700


async def test_alerts_are_tested_changed_and_deleted(alerting: Alerting) -> None:
    app = alerting.app
    alert = await alerting.alert("mailto:ops@example.com", enabled=False)
    tested = (await app.query(TEST, {"id": alert}))["it"]["notification"]
    assert (tested["status"], tested["isTest"]) == ("PENDING", True)
    await alerting.send()
    assert "This is a test of the alert 'an alert'." in alerting.mailbox.text()
    (sent,) = await alerting.notifications(alert)
    assert (sent["id"], sent["status"], sent["count"]) == (tested["id"], "SENT", 0)
    await alerting.runs(FAILED, 1, **ERROR)
    await app.query(UPDATE, {"input": {"id": alert, "enabled": True}})
    await alerting.send(after=30)
    assert len(alerting.mailbox.mails) == 1
    changed = await app.query(UPDATE, {"input": {"id": alert, "condition": "CONSECUTIVE_FAILURES"}})
    assert changed["it"]["alert"] == {"threshold": 3, "enabled": True, "condition": "CONSECUTIVE_FAILURES"}
    alerting.mailbox.answer = "550 no"
    await app.query(TEST, {"id": alert})
    await alerting.send()
    assert [each["status"] for each in await alerting.notifications(alert)] == ["SENT", "FAILED"]
    assert (await app.query(DELETE, {"id": alert}))["it"] == {"alertId": alert}
    for model in (Alert, AlertGroup, Notification):
        assert await app.database.read(fetch_all, select(table(model))) == []


async def test_invalid_alerts_are_refused_and_targets_are_stored_encrypted(alerting: Alerting) -> None:
    app = alerting.app

    async def problems(**given: Any) -> list[str]:
        made = await app.query(CREATE, {"input": {"name": "a", "target": "mailto:a@example.com", **given}})
        return [problem["path"] for problem in made["it"]["problems"]]

    injected = "mailto:a@example.com\r\nbcc: b@example.com"
    for target in ("mailto:", injected, "mailto:A <a@example.com>", "slack", "x" * 3_000):
        assert await problems(target=target) == ["target"], target
    assert await problems(quiet="PT1S", threshold=3) == ["threshold", "quiet"]
    assert await problems(condition="LATE", threshold=0) == ["threshold"]
    token = "xoxb-a-token-of-slack"
    await alerting.alert(f"slack://{token}/T1/B1/C1")
    rows = await app.database.read(fetch_all, select(table(Alert)))
    assert [row.hint for row in rows] == ["slack"]
    assert token not in str([dict(row._mapping) for row in rows])
    for key in (app.keys.operator, app.keys.other_admin):
        node = f'{{ node(id: "{ids.encode(IdKind.ALERT, rows[0].id)}") {{ id }} }}'
        assert (await app.query(node, key=key))["node"] is None
    assert await app.error_code("{ alerts { totalCount } }", key=app.keys.operator) == "FORBIDDEN"
    # The key that encrypted the target is gone.
    await app.database.write(lambda uow: uow.conn.execute(update(table(Alert)).values(key_id="lost")))
    await app.query(TEST, {"id": ids.encode(IdKind.ALERT, rows[0].id)})
    await alerting.send()
    (failed,) = await alerting.notifications(ids.encode(IdKind.ALERT, rows[0].id))
    assert failed["status"] == "FAILED"
    assert "FLOWRUNS_SECRET_KEYS" in failed["message"]
