"""A page of another origin calls the service, in a real browser."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Page

from service.http.auth import COOKIE
from tests.support.processes.server import run_server
from tests.web.test_graphiql import page

__all__ = ["page"]

FETCH = """async ([url, key, credentials]) => {
    try {
        const response = await fetch(`${url}/graphql`, {
            method: 'POST',
            credentials,
            headers: {
                'content-type': 'application/json',
                'x-apollo-operation-name': 'Role',
                ...(key ? { authorization: `Bearer ${key}` } : {}),
            },
            body: JSON.stringify({ query: 'query Role { viewer { role } }' }),
        })
        const { data } = await response.json()
        return [response.status, data?.viewer?.role ?? null, response.headers.get('x-request-id') !== null]
    } catch (error) {
        return String(error)
    }
}"""
SIGN_IN = """async ([url, key]) => (await fetch(`${url}/sign-in`, {
    method: 'POST', credentials: 'include', headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ key }),
})).status"""
STREAM = """([url, key]) => new Promise((resolve) => {
    const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws')
    const payload = key ? { Authorization: `Bearer ${key}` } : null
    socket.onopen = () => socket.send(JSON.stringify({ type: 'connection_init', payload }))
    socket.onmessage = (message) => resolve(JSON.parse(message.data).type)
    socket.onclose = (event) => resolve(`closed: ${event.code}`)
})"""
BLOCKED = "TypeError: Failed to fetch"


@asynccontextmanager
async def site() -> AsyncIterator[str]:
    """The origin of an empty page, on a port of its own."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


async def test_page_of_a_listed_origin_calls_the_api_and_others_cannot(page: Page, database_url: str) -> None:
    async with site() as listed, site() as other, run_server(database_url, cors_origins=listed) as server:
        key = server.admin_key
        await page.goto(listed)
        assert await page.evaluate(FETCH, [server.url, key, "same-origin"]) == [200, "ADMIN", True]
        assert await page.evaluate(FETCH, [server.url, "wrong", "same-origin"]) == [401, None, True]
        assert await page.evaluate(STREAM, [server.url, key]) == "connection_ack"
        # Without FLOWRUNS_CORS_CREDENTIALS the browser sends no cookie, not even to another port of its site.
        assert await page.evaluate(FETCH, [server.url, None, "include"]) == BLOCKED
        await page.context.add_cookies([{"name": COOKIE, "value": key, "url": server.url, "sameSite": "Strict"}])
        assert await page.evaluate(STREAM, [server.url, None]) == "closed: 4403"
        await page.goto(other)
        assert await page.evaluate(FETCH, [server.url, key, "same-origin"]) == BLOCKED
        assert await page.evaluate(STREAM, [server.url, key]) == "closed: 1006"


async def test_page_of_a_listed_origin_uses_the_cookie_if_it_may(page: Page, database_url: str) -> None:
    settings = {"cors_credentials": True}
    async with site() as listed, site() as other, run_server(database_url, cors_origins=listed, **settings) as server:
        await page.goto(listed)
        assert await page.evaluate(FETCH, [server.url, None, "include"]) == [401, None, True]
        assert await page.evaluate(SIGN_IN, [server.url, server.admin_key]) == 204
        assert await page.evaluate(FETCH, [server.url, None, "include"]) == [200, "ADMIN", True]
        assert await page.evaluate(STREAM, [server.url, None]) == "connection_ack"
        assert await page.evaluate(FETCH, [server.url, None, "omit"]) == [401, None, True]
        await page.goto(other)
        assert await page.evaluate(FETCH, [server.url, None, "include"]) == BLOCKED
