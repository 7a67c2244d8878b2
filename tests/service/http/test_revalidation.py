"""GET requests that ask whether a response is still the same."""

import httpx
import pytest

from tests.support.app import App

QUERY = "{ flows { nodes { name } } }"


async def get(app: App, query: str = QUERY, *, key: str | None = None, **headers: str) -> httpx.Response:
    shown = {"authorization": f"Bearer {key or app.keys.viewer}", **headers}
    return await app.http.get("/graphql", params={"query": query}, headers=shown)


async def test_same_response_is_not_sent_again(idle_app: App) -> None:
    await idle_app.create_flow(None, "one")
    first = await get(idle_app)
    assert first.status_code == 200
    assert first.headers["cache-control"] == "private, no-cache"
    assert {"authorization", "cookie", "accept"} <= {each.strip() for each in first.headers["vary"].lower().split(",")}
    tag = first.headers["etag"]
    for shown in (tag, f'"another", {tag}', tag.removeprefix("W/"), "*"):
        again = await get(idle_app, **{"if-none-match": shown})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
        assert again.headers["cache-control"] == "private, no-cache"
        assert "authorization" in again.headers["vary"]


async def test_changed_response_is_sent(idle_app: App) -> None:
    await idle_app.create_flow(None, "one")
    first = await get(idle_app)
    await idle_app.create_flow(None, "two")
    second = await get(idle_app, **{"if-none-match": first.headers["etag"]})
    assert second.status_code == 200
    assert second.headers["etag"] != first.headers["etag"]
    assert [node["name"] for node in second.json()["data"]["flows"]["nodes"]] == ["two", "one"]


async def test_tag_is_the_same_for_every_compression(idle_app: App) -> None:
    query = "{ __schema { types { name description } } }"
    tags = {
        (await get(idle_app, query, **{"accept-encoding": accepted})).headers["etag"]
        for accepted in ("identity", "gzip", "br", "zstd")
    }
    assert len(tags) == 1


async def test_another_key_gets_its_own_response(idle_app: App) -> None:
    await idle_app.create_flow(None, "one")
    tag = (await get(idle_app)).headers["etag"]
    other = await get(idle_app, key=idle_app.keys.other_viewer, **{"if-none-match": tag})
    assert other.status_code == 200
    assert other.json() == {"data": {"flows": {"nodes": []}}}


async def test_revoked_or_missing_key_is_refused_without_a_hint(idle_app: App) -> None:
    tag = (await get(idle_app)).headers["etag"]
    refused = await get(idle_app, key="fr_wrong", **{"if-none-match": tag})
    assert refused.status_code == 401
    assert "etag" not in refused.headers


@pytest.mark.parametrize("query", ["{ nope }", "{"])
async def test_refused_document_has_no_tag(idle_app: App, query: str) -> None:
    response = await get(idle_app, query, accept="application/graphql-response+json")
    assert response.status_code == 400
    assert "etag" not in response.headers


async def test_post_has_no_tag(idle_app: App) -> None:
    response = await idle_app.post(QUERY, headers={"if-none-match": "*"})
    assert response.status_code == 200
    assert "etag" not in response.headers
