"""`flowRunStatsChanged` over a real socket."""

from typing import Any

from websockets.asyncio.client import ClientConnection

from tests.service.streams.test_socket import receive, signed_in, start, subscribe
from tests.support.processes.server import Server

WATCH = """subscription($filter: FlowRunFilter) { flowRunStatsChanged(filter: $filter) {
    at total byStatus { status count } durations { count maxMs } timeBuckets(size: MINUTE) { total }
    topFailingSteps { stepName count flow { name } errors { count sampleRun { status } } } } }"""


async def next_event(socket: ClientConnection, name: str = "1") -> Any:
    message = await receive(socket)
    assert (message["id"], message["type"]) == (name, "next")
    assert "errors" not in message["payload"], message["payload"]
    return message["payload"]["data"]["flowRunStatsChanged"]


async def until_succeeded(socket: ClientConnection, count: int) -> list[Any]:
    """Returns the statistics until this many runs have succeeded."""
    found = [await next_event(socket)]
    while succeeded(found[-1]) < count:
        found.append(await next_event(socket))
    return found


def succeeded(stats: Any) -> int:
    counts: dict[str, int] = {each["status"]: each["count"] for each in stats["byStatus"]}
    return counts["SUCCEEDED"]


async def test_statistics_are_delivered_at_the_start_and_when_runs_change(server: Server) -> None:
    async with signed_in(server) as socket, signed_in(server) as other:
        await subscribe(socket, WATCH)
        first = await next_event(socket)
        await subscribe(other, WATCH, filter={"flowIds": []})
        assert (await next_event(other))["total"] == 0
        await start(server)
        last = (await until_succeeded(socket, succeeded(first) + 1))[-1]
        assert last["total"] == first["total"] + 1
        assert last["durations"]["count"] >= 1
        assert sum(each["total"] for each in last["timeBuckets"]) == last["total"]
        assert last["at"] > first["at"]


async def test_streams_of_one_socket_are_independent(server: Server) -> None:
    async with signed_in(server) as socket:
        await subscribe(socket, WATCH, "a")
        first = await next_event(socket, "a")
        await subscribe(socket, WATCH, "b", filter={"statuses": ["SUCCEEDED"]})
        assert (await next_event(socket, "b"))["total"] == succeeded(first)


async def test_bad_arguments_have_codes_on_a_socket_too(server: Server) -> None:
    async with signed_in(server) as socket:
        await subscribe(socket, 'subscription { flowRunStatsChanged { timeBuckets(timeZone: "Mars") { total } } }')
        (error,) = (await receive(socket))["payload"]["errors"]
        assert error["extensions"]["code"] == "INVALID_ARGUMENT"
