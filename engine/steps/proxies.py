"""The proxies of HTTP steps, from the environment of the worker.

A request that goes through a proxy is not checked for private addresses: the proxy resolves the name, and decides.
"""

from collections.abc import Mapping
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

import httpcore
import httpx

from engine.steps.network import PooledTransport, pool_settings


def with_proxies(direct: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
    """Returns a transport that follows HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, and uses `direct` otherwise.

    Raises:
        ValueError: a proxy is not an http or https URL.
    """
    settings = getproxies_environment()
    addresses = {scheme: settings.get(scheme) or settings.get("all") for scheme in ("http", "https")}
    return _Proxied(direct, {scheme: _proxy(address) for scheme, address in addresses.items() if address}, settings)


class _Proxied(httpx.AsyncBaseTransport):
    def __init__(
        self,
        direct: httpx.AsyncBaseTransport,
        proxies: Mapping[str, httpx.AsyncBaseTransport],
        settings: Mapping[str, str],
    ) -> None:
        self._direct = direct
        self._proxies = proxies
        self._settings = dict(settings)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        proxy = self._proxies.get(request.url.scheme)
        if proxy is None or proxy_bypass_environment(request.url.netloc.decode(), self._settings):
            return await self._direct.handle_async_request(request)
        return await proxy.handle_async_request(request)

    async def aclose(self) -> None:
        for transport in (self._direct, *self._proxies.values()):
            await transport.aclose()


def _proxy(address: str) -> PooledTransport:
    parts = urlsplit(address if "://" in address else f"http://{address}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("a proxy of the environment is not an http or https URL")
    auth = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    url = httpcore.URL(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")
    return PooledTransport(httpcore.AsyncHTTPProxy(proxy_url=url, proxy_auth=auth, **pool_settings()))
