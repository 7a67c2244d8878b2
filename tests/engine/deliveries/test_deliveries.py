"""Deliveries of events to real receivers: the requests, their results, and that none is lost."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.deliveries import queue, relay
from db.models import Delivery, DeliveryAttempt, Endpoint
from db.models.types import table
from db.removal import deletion, erasure
from db.sql.rows import fetch_all
from domain import ids
from domain.enums import RunStatus
from domain.errors import DatabaseUnavailableError
from domain.ids import IdKind
from domain.outbound.delivery import BACK_OFF, MAX_AGE, delay_after
from domain.time import clock
from engine.deliveries.relay import LEASE
from tests.engine.deliveries.conftest import CREATE, Sending, new_relay
from tests.support import factory
from tests.support.clock import FakeClock
from tests.support.databases.overlap import uncommitted

UPDATE = """mutation($input: UpdateEndpointInput!) { it: updateEndpoint(input: $input) {
    ... on UpdateEndpointSuccess { endpoint { enabled disabledReason } } ... on UserError { code message } } }"""
ENDPOINT = "query($id: ID!) { node(id: $id) { ... on Endpoint { enabled disabledReason failingSince } } }"
REDELIVER = """mutation($id: ID!) { it: redeliver(id: $id) {
    ... on RedeliverSuccess { delivery { status } } ... on UserError { code } } }"""
REDELIVER_ALL = """mutation($id: ID!, $filter: DeliveryFilter) { it: redeliverAll(endpointId: $id, filter: $filter) {
    ... on RedeliverAllSuccess { count } ... on UserError { code } } }"""
ROTATE = """mutation($id: ID!, $overlap: String!) { it: rotateEndpointSecret(id: $id, overlap: $overlap) {
    ... on RotateEndpointSecretSuccess { secret } ... on UserError { code } } }"""


async def make_due(database: Database) -> None:
    """Lets the time of the next attempts come."""
    due = update(table(Delivery)).where(table(Delivery).c.due_at.is_not(None)).values(due_at=clock.now())
    await database.write(lambda uow: uow.conn.execute(due))


async def test_endpoint_gets_the_events_of_its_filter_signed(sending: Sending) -> None:
    endpoint, secret = await sending.endpoint("/ok/ends", filter={"tags": ["red"]})
    _, other = await sending.endpoint("/ok/all", kinds=["RUN_STATUS_CHANGED", "RUN_ENDED"], payloads=True)
    run = await sending.run(tags=["red"], error_code="E", error_message="It broke", input='{"name":"Ada"}')
    await sending.run(tags=["blue"])
    await sending.send()
    (got,) = sending.receiver.of("/ok/ends")
    Webhook(secret).verify(got.body, dict(got.headers))
    with pytest.raises(WebhookVerificationError):
        Webhook(other).verify(got.body, dict(got.headers))
    assert got.json["type"] == "run.ended"
    data = got.json["data"]
    assert (data["from"], data["to"], data["endpointId"]) == ("RUNNING", "FAILED", endpoint)
    assert data["run"]["id"] == run
    assert data["run"]["error"] == {"code": "E", "message": "It broke", "stepName": None, "fingerprint": None}
    assert "input" not in data["run"]
    assert "message" not in data
    everything = sorted(sending.receiver.of("/ok/all"), key=lambda each: int(each.json["data"]["sequence"]))
    assert [each.json["data"]["to"] for each in everything] == ["QUEUED", "RUNNING", "FAILED"] * 2
    assert [each.json["type"] for each in everything[:3]] == ["run.status_changed"] * 2 + ["run.ended"]
    assert everything[0].json["data"]["run"]["input"] == {"name": "Ada"}
    (logged,) = await sending.log(endpointIds=[endpoint])
    assert (logged["id"], logged["status"], logged["run"]) == (got.id, "DELIVERED", {"id": run})
    (attempt,) = logged["attempts"]
    assert (attempt["responseStatus"], attempt["error"], attempt["excerpt"]) == (200, None, "answer of ***")


async def test_events_before_the_endpoint_and_while_it_is_disabled_are_not_sent(sending: Sending) -> None:
    await sending.run()
    endpoint, _ = await sending.endpoint()
    await sending.app.query(UPDATE, {"input": {"id": endpoint, "enabled": False}})
    await sending.run()
    await sending.app.query(UPDATE, {"input": {"id": endpoint, "enabled": True}})
    last = await sending.run()
    await sending.send()
    assert [each.json["data"]["run"]["id"] for each in sending.receiver.requests] == [last]


async def test_failed_attempts_are_repeated_under_the_same_id(sending: Sending) -> None:
    for path in ("/503/a", "/redirect/b", "/ok/c"):
        await sending.endpoint(path)
    sending.receiver.statuses = {"/redirect/b": 302}
    await sending.run()
    await sending.send()
    assert [(each["status"], each["attempts"][0]["error"]) for each in await sending.log()] == [
        ("PENDING", "STATUS"),
        ("PENDING", "REDIRECT"),
        ("DELIVERED", None),
    ]
    assert all((each["nextAttemptAt"] is None) is (each["status"] == "DELIVERED") for each in await sending.log())
    assert sending.receiver.of("/ok/redirected") == []
    sending.receiver.statuses = {"/503/a": 202, "/redirect/b": 200}
    await make_due(sending.app.database)
    await sending.send()
    assert {each["status"] for each in await sending.log()} == {"DELIVERED"}
    for path, count in (("/503/a", 2), ("/redirect/b", 2), ("/ok/c", 1)):
        got = sending.receiver.of(path)
        assert (len(got), len({each.id for each in got})) == (count, 1)


async def test_private_addresses_are_refused_and_hanging_receivers_given_up(
    sending: Sending, fake_clock: FakeClock
) -> None:
    await sending.endpoint("/hang")
    await sending.run()
    await sending.relay.drain()
    guarded = sending.new_deliverer(allow_private=False)
    await fake_clock.drive(guarded.drain())
    (refused,) = await sending.log()
    assert (refused["status"], refused["attempts"][0]["error"]) == ("PENDING", "ADDRESS_REFUSED")
    assert sending.receiver.requests == []
    await make_due(sending.app.database)
    draining = asyncio.create_task(sending.deliverer.drain())
    await fake_clock.advance(1)
    await fake_clock.happened(sending.receiver.arrived)
    await fake_clock.drive(draining)
    (hung,) = await sending.log()
    assert (hung["status"], hung["attempts"][1]["error"]) == ("PENDING", "TIMEOUT")
    await guarded.shut_down()


async def test_endpoint_that_is_gone_is_disabled_and_gets_what_waits_when_it_is_enabled(sending: Sending) -> None:
    endpoint, _ = await sending.endpoint("/410")
    await sending.run()
    await sending.send()
    shown = (await sending.app.query(ENDPOINT, {"id": endpoint}))["node"]
    assert (shown["enabled"], shown["disabledReason"]) == (False, "GONE")
    found = await sending.app.query("{ auditEvents(first: 1) { nodes { action actor { kind } objectId details } } }")
    (event,) = found["auditEvents"]["nodes"]
    assert (event["action"], event["actor"]["kind"], event["objectId"]) == ("UPDATE_ENDPOINT", "SYSTEM", endpoint)
    assert event["details"]["disabledReason"] == "GONE"
    await make_due(sending.app.database)
    await sending.send()
    assert len(sending.receiver.requests) == 1
    sending.receiver.statuses = {"/410": 200}
    await sending.app.query(UPDATE, {"input": {"id": endpoint, "enabled": True}})
    await sending.send()
    assert [each["status"] for each in await sending.log()] == ["DELIVERED"]


async def test_dead_endpoint_is_disabled_after_three_days_and_its_deliveries_fail(sending: Sending) -> None:
    assert sum(BACK_OFF, timedelta()) <= MAX_AGE
    assert delay_after(len(BACK_OFF) + 1) is None
    endpoint, _ = await sending.endpoint("/500")
    await sending.run()
    await sending.send()
    since = update(table(Endpoint)).values(failing_since=clock.now() - MAX_AGE)
    over = update(table(Delivery)).values(due_at=clock.now(), try_until=clock.now())
    await sending.app.database.write(lambda uow: (uow.conn.execute(since), uow.conn.execute(over)))
    await sending.send()
    shown = (await sending.app.query(ENDPOINT, {"id": endpoint}))["node"]
    assert (shown["enabled"], shown["disabledReason"]) == (False, "FAILING")
    (ended,) = await sending.log()
    assert (ended["status"], ended["attemptCount"]) == ("FAILED", 2)


async def test_failing_endpoint_gets_single_attempts_until_it_takes_one(sending: Sending) -> None:
    """Thousands of pending deliveries are not sent to a receiver that is away, and one that is back gets them all."""
    endpoint, _ = await sending.endpoint("/500")
    for _ in range(15):
        await sending.run()
    await sending.relay.drain()
    pending = await sending.log()
    since = update(table(Endpoint)).values(failing_since=clock.now() - timedelta(minutes=2))
    await sending.app.database.write(lambda uow: uow.conn.execute(since))
    await sending.send()
    tried = [each for each in await sending.log() if each["attemptCount"]]
    assert [each["id"] for each in tried] == [pending[-1]["id"]]
    await sending.send()  # the same worker waits
    assert len(sending.receiver.requests) == 1
    change = "mutation($input: UpdateEndpointInput!) { it: updateEndpoint(input: $input) { __typename } }"
    await sending.app.query(change, {"input": {"id": endpoint, "url": sending.receiver.url + "/ok"}})
    another = sending.new_deliverer()
    await another.drain()
    await another.shut_down()
    ended = [each["status"] for each in await sending.log()]
    assert ended == ["DELIVERED"] * 14 + ["PENDING"]
    assert len(sending.receiver.requests) == 15


async def test_deliveries_are_sent_again_one_by_one_and_by_filter(sending: Sending) -> None:
    endpoint, _ = await sending.endpoint("/ok")
    for _ in range(3):
        await sending.run()
    await sending.send()
    first, *rest = await sending.log()
    again = await sending.app.query(REDELIVER, {"id": first["id"]})
    assert again["it"] == {"delivery": {"status": "PENDING"}}
    assert (await sending.app.query(REDELIVER, {"id": first["id"]}))["it"] == {"code": "DELIVERY_NOT_ENDED"}
    await sending.send()
    assert [each.id for each in sending.receiver.requests].count(first["id"]) == 2
    none = await sending.app.query(REDELIVER_ALL, {"id": endpoint})
    assert none["it"] == {"count": 0}
    done = await sending.app.query(REDELIVER_ALL, {"id": endpoint, "filter": {"statuses": ["DELIVERED"]}})
    assert done["it"] == {"count": 3}
    await sending.send()
    assert [len([got for got in sending.receiver.requests if got.id == each["id"]]) for each in rest] == [2, 2]


async def test_rotated_secret_signs_beside_the_earlier_one_until_the_overlap_ends(sending: Sending) -> None:
    endpoint, old = await sending.endpoint()
    new = (await sending.app.query(ROTATE, {"id": endpoint, "overlap": "PT1H"}))["it"]["secret"]
    await sending.run()
    await sending.send()
    newest = (await sending.app.query(ROTATE, {"id": endpoint, "overlap": "PT0S"}))["it"]["secret"]
    await sending.run()
    await sending.send()
    both, last = sending.receiver.requests
    for secret in (old, new):
        Webhook(secret).verify(both.body, dict(both.headers))
    Webhook(newest).verify(last.body, dict(last.headers))
    with pytest.raises(WebhookVerificationError):
        Webhook(new).verify(last.body, dict(last.headers))


async def test_callback_of_a_run_is_called_also_for_its_retry(sending: Sending) -> None:
    flow = ids.encode(IdKind.FLOW, sending.flow.flow_id)
    url = sending.receiver.url + "/ok/call?token=hidden-in-the-database"
    refused = await sending.app.start(flow, callbackUrl=url)
    assert refused["code"] == "CALLBACK_ENDPOINT_MISSING"
    _, secret = await sending.endpoint(None)
    run = (await sending.app.start(flow, callbackUrl=url))["run"]["id"]
    plain = (await sending.app.start(flow))["run"]["id"]
    for each in (run, plain):
        text_ = f'mutation {{ it: cancel(runId: "{each}") {{ __typename }} }}'
        await sending.app.query(text_)
    text_ = f"""mutation {{ it: retry(runId: "{run}", strategy: ON_LATEST_VERSION) {{
        ... on RetrySuccess {{ run {{ id }} }} }} }}"""
    retried = (await sending.app.query(text_))["it"]["run"]["id"]
    await sending.app.query(f'mutation {{ it: cancel(runId: "{retried}") {{ __typename }} }}')
    await sending.send()
    # They are sent at the same time.
    assert {each.json["data"]["run"]["id"] for each in sending.receiver.of("/ok/call")} == {run, retried}
    assert len(sending.receiver.of("/ok/call")) == 2
    for got in sending.receiver.requests:
        Webhook(secret).verify(got.body, dict(got.headers))
    assert all(each["isCallback"] for each in await sending.log())
    invalid = await sending.app.execute(
        "mutation($input: StartRunInput!) { startRun(input: $input) { __typename } }",
        {"input": {"flowId": flow, "callbackUrl": "ftp://example.com"}},
    )
    assert invalid["errors"][0]["extensions"]["code"] == "INVALID_ARGUMENT"


async def test_a_slow_endpoint_has_few_attempts_at_once_and_delays_no_other(sending: Sending) -> None:
    await sending.endpoint("/ok/slow")
    for _ in range(12):
        await sending.run()
    await sending.relay.drain()
    await sending.endpoint("/ok/fast")
    run = await sending.run()
    await sending.relay.drain()
    now, lease = clock.now(), timedelta(minutes=1)
    first, second = UUID(int=1), UUID(int=2)
    claimed = await sending.app.database.write(queue.claim, first, now, lease, 100, 10)
    assert len(claimed) == 11
    assert await sending.app.database.write(queue.claim, second, now, lease, 100, 10) == ()
    fast = [each for each in claimed if each.run_id is not None and ids.encode(IdKind.RUN, each.run_id) == run]
    assert len(fast) == 1
    later = await sending.app.database.write(queue.claim, second, now + lease * 2, lease, 5, 10)
    assert len(later) == 5


async def test_two_relays_turn_each_event_into_one_delivery(sending: Sending) -> None:
    await sending.endpoint(kinds=["RUN_STATUS_CHANGED", "RUN_ENDED"])
    second = new_relay(sending.app)
    for _ in range(4):
        await sending.run()
        await asyncio.gather(sending.relay.drain(), second.drain())
    assert len(await sending.log()) == 12
    sequences = table(Delivery).c.event_seq
    rows = await sending.app.database.read(lambda conn: conn.execute(select(sequences)).scalars().all())
    assert len(set(rows)) == 12


async def test_relay_that_loses_its_write_or_its_lease_loses_and_doubles_no_event(
    sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sending.endpoint()
    await sending.run()
    advance = relay.advance

    def broken(*args: Any) -> None:
        advance(*args)
        raise DatabaseUnavailableError

    with monkeypatch.context() as patched:
        patched.setattr(relay, "advance", broken)
        with pytest.raises(DatabaseUnavailableError):
            await sending.relay.drain()
    assert await sending.log() == []
    # Another worker takes over after the lease, the first one goes on without noticing.
    until = clock.now() + LEASE
    await sending.app.database.write(relay.release, None)
    await sending.app.database.write(relay.acquire, UUID(int=7), clock.now(), until)
    await sending.relay.drain()
    assert await sending.log() == []
    await sending.app.database.write(relay.release, None)
    await sending.relay.drain()
    await new_relay(sending.app).drain()
    assert len(await sending.log()) == 1


async def test_relay_waits_for_a_lower_number_that_is_not_committed_yet(sending: Sending) -> None:
    if sending.app.database.dialect == "sqlite":
        return  # it has one writer
    await sending.endpoint(kinds=["RUN_STATUS_CHANGED", "RUN_ENDED"])

    def insert(uow: UnitOfWork) -> None:
        run_id = factory.make_run(uow, sending.flow, status=RunStatus.QUEUED)
        factory.make_events(uow, sending.flow, run_id, [RunStatus.QUEUED])
        uow.flush()

    async with uncommitted(sending.app.database, insert):
        await sending.run([RunStatus.QUEUED])
        state = await sending.app.database.read(relay.state)
        await sending.relay._load()
        await sending.relay._step()
        assert await sending.log() == []
    await sending.relay.drain()
    await sending.relay.drain()
    assert len(await sending.log()) == 2
    assert (await sending.app.database.read(relay.state)).seq > state.seq


async def test_deliveries_keep_nothing_of_a_run_but_what_is_answered_until_it_is_erased(sending: Sending) -> None:
    await sending.endpoint("/503", payloads=True)
    await sending.endpoint("/echo", payloads=True)
    run = await sending.run(input='{"name":"Ada Lovelace"}', tags=["Ada"], error_message="for Ada")
    await sending.send()
    assert [("Ada" in (each["attempts"][0]["excerpt"])) for each in await sending.log()] == [False, True]
    assert "Ada" in str(sending.receiver.of("/503")[0].json)
    key = ids.decode(IdKind.RUN, run)
    database = sending.app.database
    assert "Ada" not in str(await database.read(fetch_all, select(table(Delivery))))
    await database.write(erasure.erase, [key], clock.now())
    assert "Ada" not in str(await database.read(fetch_all, select(table(DeliveryAttempt))))
    # An answer that comes after the erasure is not kept either, and what is sent then has nothing of it.
    again = update(table(Delivery)).values(status="PENDING", due_at=clock.now())
    await database.write(lambda uow: uow.conn.execute(again))
    await sending.send()
    assert "Ada" not in str(sending.receiver.of("/echo")[1].json)
    assert [each["attempts"][1]["excerpt"] for each in await sending.log()] == [None, None]
    await database.write(deletion.delete_runs, [key], clock.now())
    for model in (Delivery, DeliveryAttempt):
        assert await database.read(fetch_all, select(table(model))) == []


async def test_lists_and_nodes_are_for_admins_of_the_project(sending: Sending) -> None:
    app = sending.app
    endpoint, _ = await sending.endpoint()
    await sending.run()
    await sending.send()
    (delivery,) = await sending.log()
    node = "query($id: ID!) { node(id: $id) { id } }"
    for id_ in (endpoint, delivery["id"]):
        assert (await app.query(node, {"id": id_}))["node"] == {"id": id_}
        for key in (app.keys.operator, app.keys.other_admin):
            assert (await app.query(node, {"id": id_}, key=key))["node"] is None
    for field in ("endpoints", "deliveries"):
        document = f"{{ {field} {{ totalCount }} }}"
        assert await app.error_code(document, key=app.keys.operator) == "FORBIDDEN"
        assert (await app.query(document, key=app.keys.other_admin))[field] == {"totalCount": 0}
        assert (await app.query(document, key=app.keys.all_projects))[field] == {"totalCount": 1}


async def test_keys_without_sight_of_payloads_send_none_to_themselves(sending: Sending) -> None:
    app = sending.app
    made = await app.query(
        """mutation { it: createApiKey(name: "n", role: ADMIN, payloads: false) {
            ... on CreateApiKeySuccess { secret } } }"""
    )
    key = made["it"]["secret"]
    await sending.endpoint(None, payloads=True)
    endpoint, _ = await sending.endpoint("/ok", payloads=True)
    given = {"name": "mine", "url": sending.receiver.url}
    assert (await app.query(CREATE, {"input": given}, key=key))["it"]["secret"]
    searching = {**given, "filter": {"not": {"search": "needle"}}}
    assert await app.error_code(CREATE, {"input": searching}, key=key) == "INVALID_ARGUMENT"
    assert await app.error_code(CREATE, {"input": {**given, "payloads": True}}, key=key) == "FORBIDDEN"
    assert await app.error_code(UPDATE, {"input": {"id": endpoint, "url": given["url"]}}, key=key) == "FORBIDDEN"
    flow = ids.encode(IdKind.FLOW, sending.flow.flow_id)
    start = "mutation($input: StartRunInput!) { startRun(input: $input) { __typename } }"
    assert await app.error_code(start, {"input": {"flowId": flow, "callbackUrl": given["url"]}}, key=key) == "FORBIDDEN"
    excerpt = "{ deliveries { nodes { attempts { excerpt } } } }"
    assert await app.error_code(excerpt, key=key) == "FORBIDDEN"
