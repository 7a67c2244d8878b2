"""HTTP steps connect to public addresses only, unless private ones are allowed."""

import asyncio
from ipaddress import IPv4Address, ip_address

import pytest

from engine.steps import KINDS, StepSettings
from engine.steps.http import HttpKind
from engine.steps.network import Address, GuardedBackend, GuardedTransport, anywhere, public_only
from tests.engine.steps.http_server import CONTEXT, LIMIT, Server, failure, guarded

REFUSED = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:7f00:1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", REFUSED)
def test_refused_addresses(address: str) -> None:
    assert not public_only(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "8.8.8.8",
        "172.32.0.1",
        "100.128.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2606:4700::1111",
        "2a00::1",
    ],
)
def test_allowed_addresses(address: str) -> None:
    assert public_only(ip_address(address))
    assert anywhere(ip_address(address))


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["169.254.169.254"], ["::1"], ["8.8.8.8", "10.0.0.1"]])
async def test_names_that_resolve_to_refused_addresses(addresses: list[str]) -> None:
    async with guarded(public_only, {"innocent.example": addresses}) as call:
        error = await failure(call("http://innocent.example/"))
    assert (error.code, error.retryable) == ("ADDRESS_REFUSED", False)
    assert "innocent.example" in error.message


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "2130706433", "0x7f000001", "127.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0"]
)
async def test_spellings_of_the_local_host_are_refused(server: Server, host: str) -> None:
    async with KINDS.open(StepSettings()) as kinds:
        error = await failure(kinds["http"].run({"url": f"http://{host}:{server.port}/echo"}, CONTEXT))
    # On machines that do not read it as an address, it is an unknown host.
    assert error.code in ("ADDRESS_REFUSED", "HTTP_FAILED")
    assert not server.seen
    if host in ("127.0.0.1", "[::1]", "localhost", "2130706433"):
        assert error.code == "ADDRESS_REFUSED"


async def test_redirect_to_a_refused_address(server: Server) -> None:
    async with guarded(lambda address: address == IPv4Address("127.0.0.1"), {"inner.example": ["127.0.0.2"]}) as call:
        assert (await call(f"{server.url}/echo"))["status"] == 200
        for target in ("http://127.0.0.2/", "http://inner.example/"):
            error = await failure(call(f"{server.url}/redirect?to={target}"))
            assert error.code == "ADDRESS_REFUSED"


async def test_connection_goes_to_the_checked_address(server: Server) -> None:
    answers = [["127.0.0.1"], ["127.0.0.2"]]

    async def rebinding(_: str, __: int) -> list[Address]:
        return [ip_address(address) for address in answers.pop(0)]

    backend = GuardedBackend(lambda address: address == IPv4Address("127.0.0.1"), rebinding)
    runner = HttpKind(StepSettings(max_response_bytes=LIMIT, http_timeout=20), GuardedTransport(backend))
    output = await runner.run({"url": f"http://name.example:{server.port}/echo"}, CONTEXT)
    await runner.aclose()
    assert output["body"]["headers"]["host"] == f"name.example:{server.port}"
    assert len(answers) == 1


async def test_next_address_is_tried(server: Server) -> None:
    async with guarded(anywhere, {"two.example": ["127.0.0.3", "127.0.0.1"]}) as call:
        assert (await call(f"http://two.example:{server.port}/echo"))["status"] == 200


@pytest.mark.parametrize("seconds", [0.05, 20])
async def test_slow_name_resolution_times_out(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    async def never(_: str, __: int) -> list[Address]:
        await asyncio.sleep(60)
        return []

    monkeypatch.setattr("engine.steps.http.CONNECT_SECONDS", 0.1)
    runner = HttpKind(StepSettings(http_timeout=seconds), GuardedTransport(GuardedBackend(anywhere, never)))
    assert (await failure(runner.run({"url": "http://slow.example/"}, CONTEXT))).code == "TIMEOUT"
    await runner.aclose()


async def test_name_without_addresses() -> None:
    async with guarded(anywhere, {"empty.example": []}) as call:
        assert (await failure(call("http://empty.example/"))).code == "HTTP_FAILED"
