"""Decides which addresses an HTTP step may connect to, and enforces that in the transport.

Flows come from people who are not the operator, and the service runs inside the operator's network, next to databases
and metadata services that trust that network. So the host name of a URL is resolved here, each of its addresses is
checked, and the connection is made to one of the checked addresses. The name is not resolved a second time, so it
cannot point elsewhere in between (DNS rebinding). A name with a single refused address is refused as a whole: honest
names do not mix public and private addresses, and the result does not depend on the order of the addresses. TLS still
checks the certificate against the name. Redirects are requests like any other and are checked in the same way.
"""

import asyncio
import select
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, TypeAlias

import httpcore
import httpx

from engine.errors import StepError
from engine.steps.http_url import EXACT_TARGET

Address: TypeAlias = IPv4Address | IPv6Address
AddressRule: TypeAlias = Callable[[Address], bool]
"""Returns True if connections to an address are allowed."""
Resolver: TypeAlias = Callable[[str, int], Awaitable[Sequence[Address]]]
"""Returns the addresses of a host for a port. Raises OSError if there are none."""

MAX_CONNECTIONS = 200
"""Largest number of connections of one worker to all servers."""
MAX_IDLE_CONNECTIONS = 50
"""Largest number of idle connections that are kept for later calls."""
IDLE_SECONDS = 5.0
"""Seconds that an idle connection is kept for the next call."""

_SPECIAL_V4 = tuple(
    IPv4Network(network)
    for network in (
        "100.64.0.0/10",  # shared between customers of a carrier; also Alibaba's metadata service
        "168.63.129.16/32",  # Azure's platform services
        "192.0.0.0/24",  # protocol assignments
        "192.88.99.0/24",  # relays of 6to4
    )
)
_GLOBAL_V6 = IPv6Network("2000::/3")
_SPECIAL_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, benchmarking, ORCHID
        "2002::/16",  # 6to4: has an IPv4 address inside
        "3fff::/20",  # documentation
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")


def anywhere(_: Address) -> bool:
    """Allows every address: the rule for operators who trust their flows."""
    return True


def public_only(address: Address) -> bool:
    """Allows the addresses of the public internet."""
    if isinstance(address, IPv4Address):
        return _is_public_v4(address)
    if address.ipv4_mapped is not None:
        return _is_public_v4(address.ipv4_mapped)
    if address in _NAT64:
        return _is_public_v4(IPv4Address(int(address) & 0xFFFF_FFFF))
    return address in _GLOBAL_V6 and not address.is_private and not any(address in net for net in _SPECIAL_V6)


def _is_public_v4(address: IPv4Address) -> bool:
    if address.is_private or address.is_loopback or address.is_link_local or address.is_unspecified:
        return False
    return not (address.is_multicast or address.is_reserved or any(address in net for net in _SPECIAL_V4))


async def resolve(host: str, port: int) -> list[Address]:
    """Returns the addresses of `host` as the system resolves them, numeric forms such as `0177.0.0.1` included."""
    entries = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(entry[4][0]) for entry in entries))


class _Connection(httpcore.AsyncNetworkStream):
    """A connection that polls its socket itself.

    The pool asks all its idle connections at each request whether they were closed by the server. httpcore would look
    up the socket each time, together with its addresses.
    """

    def __init__(self, stream: httpcore.AsyncNetworkStream, connected: Any) -> None:
        """`connected` is the socket."""
        self._stream = stream
        self._socket = connected
        self._poll = select.poll()
        self._poll.register(connected.fileno(), select.POLLIN)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - the interface
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the interface
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        """Closes the connection."""
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface
    ) -> httpcore.AsyncNetworkStream:
        """Returns the connection with TLS."""
        return _Connection(await self._stream.start_tls(ssl_context, server_hostname, timeout), self._socket)

    def get_extra_info(self, info: str) -> Any:
        """Returns a property of the connection."""
        if info == "is_readable":
            return self._socket.fileno() < 0 or bool(self._poll.poll(0))
        return self._stream.get_extra_info(info)


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connects only to addresses that a rule allows."""

    def __init__(self, allows: AddressRule, resolver: Resolver = resolve) -> None:
        self._allows = allows
        self._resolve = resolver
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - required by the interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Returns a connection to `host`.

        Raises:
            StepError: ADDRESS_REFUSED, the rule does not allow an address of the host.
            httpcore.ConnectError, httpcore.ConnectTimeout: the connection failed.
        """
        addresses = await self._checked(host, port, timeout)
        # Each address gets a share of the time, so that an unreachable one leaves time for the others.
        share = None if timeout is None else timeout / len(addresses)
        for address in addresses[:-1]:
            try:
                stream = await self._backend.connect_tcp(str(address), port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
            return _Connection(stream, stream.get_extra_info("socket"))
        stream = await self._backend.connect_tcp(str(addresses[-1]), port, share, local_address, socket_options)
        return _Connection(stream, stream.get_extra_info("socket"))

    async def _checked(
        self,
        host: str,
        port: int,
        timeout: float | None,  # noqa: ASYNC109 - passed on
    ) -> Sequence[Address]:
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._resolve(host, port)
        except TimeoutError:
            raise httpcore.ConnectTimeout(f"resolving {host} took too long") from None
        except (OSError, ValueError) as error:
            raise httpcore.ConnectError(f"{host} could not be resolved: {error}") from None
        if not addresses:
            raise httpcore.ConnectError(f"{host} has no address")
        if not all(self._allows(address) for address in addresses):
            raise refusal(f"{host} is not on the public internet")
        return addresses


def refusal(message: str) -> StepError:
    """Returns the error of a request to an address that is not allowed."""
    return StepError("ADDRESS_REFUSED", f"The request is not allowed: {message}.", retryable=False)


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._response.aiter_stream():
            yield chunk

    async def aclose(self) -> None:
        await self._response.aclose()


class PooledTransport(httpx.AsyncBaseTransport):
    """Sends httpx's requests over a pool of connections. Raises httpcore's own errors."""

    def __init__(self, pool: httpcore.AsyncConnectionPool) -> None:
        self._pool = pool

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.scheme not in ("http", "https"):
            raise refusal(f"only http and https URLs can be called, not {request.url.scheme[:40]!r}")
        url = request.url
        target = request.extensions.get(EXACT_TARGET, url.raw_path)
        response = await self._pool.handle_async_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=target),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(
            response.status, headers=response.headers, stream=_Body(response), extensions=response.extensions
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()


class GuardedTransport(PooledTransport):
    """Sends httpx's requests over a pool of guarded connections, without a proxy.

    Raises StepError for refused addresses, too.
    """

    def __init__(self, backend: httpcore.AsyncNetworkBackend) -> None:
        super().__init__(httpcore.AsyncConnectionPool(network_backend=backend, **pool_settings()))


def pool_settings() -> dict[str, Any]:
    """Returns the settings of a worker's pools of connections."""
    return {
        "ssl_context": _tls(),
        "max_connections": MAX_CONNECTIONS,
        "max_keepalive_connections": MAX_IDLE_CONNECTIONS,
        "keepalive_expiry": IDLE_SECONDS,
    }


@cache
def _tls() -> ssl.SSLContext:
    """Returns the TLS settings of all pools of the process: loading the certificate authorities takes 60 ms.

    The operator can set the authorities in SSL_CERT_FILE and SSL_CERT_DIR.
    """
    return httpx.create_ssl_context(trust_env=True)
