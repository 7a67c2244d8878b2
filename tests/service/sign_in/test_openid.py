"""Sign-in through an OpenID provider: sessions, roles and projects, actors, signing out, and redirects."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest

from db import api_keys
from service.sign_in.openid import ATTEMPT_COOKIE
from tests.service.sign_in.providers import ask, begin, sign_in, signing_in
from tests.support.app import BASE_URL
from tests.support.clock import FakeClock

VIEWER = "{ viewer { keyName userId role project { name } grantedProjects { name } } }"
EVENTS = "{ auditEvents(first: 1) { nodes { action objectId actor { kind id name } project { name } requestId } } }"
HTML = {"accept": "text/html"}


async def test_person_signs_in_with_the_role_of_their_group_and_acts_under_their_name(database_url: str) -> None:
    async with signing_in(database_url) as (app, provider):
        response = await sign_in(app, provider)
        assert (response.status_code, response.headers["location"]) == (303, "/")
        session = next(each for each in response.headers.get_list("set-cookie") if each.startswith("flow_runs_session"))
        assert {"HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"} <= set(session.split("; "))
        viewer = (await ask(app, VIEWER))["viewer"]
        user_id = viewer.pop("userId")
        assert user_id.startswith("user_")
        assert viewer == {
            "keyName": "Ada L.",
            "role": "OPERATOR",
            "project": {"name": "default"},
            "grantedProjects": [{"name": "default"}, {"name": "other"}],
        }
        actor = {"kind": "USER", "id": user_id, "name": "Ada L."}
        (event,) = (await app.query(EVENTS))["auditEvents"]["nodes"]
        assert (event["action"], event["actor"], event["objectId"]) == ("SIGN_IN", actor, user_id)
        assert event["project"] == {"name": "default"}
        assert event["requestId"]

        flow = await app.create_flow({"steps": [{"name": "a", "kind": "delay", "input": {"for": 1}}]})
        text = f"""mutation {{ startRun(input: {{flowId: "{flow}"}}) {{
            ... on StartRunSuccess {{ run {{ id startedBy {{ kind id name }} }} }} }} }}"""
        run = (await ask(app, text))["startRun"]["run"]
        assert run["startedBy"] == actor
        text = f"""mutation {{ cancel(runId: "{run["id"]}") {{
            ... on CancelSuccess {{ run {{ cancelledBy {{ id }} statusHistory {{ message }} }} }} }} }}"""
        cancelled = (await ask(app, text))["cancel"]["run"]
        assert cancelled["cancelledBy"] == {"id": user_id}
        assert cancelled["statusHistory"][-1]["message"] == "Cancelled by 'Ada L.'"
        text = f"""mutation {{ retry(runId: "{run["id"]}", strategy: ON_LATEST_VERSION) {{
            ... on RetrySuccess {{ run {{ startedBy {{ id }} }} }} }} }}"""
        assert (await ask(app, text))["retry"]["run"]["startedBy"] == {"id": user_id}
        text = f"""mutation {{ bulkArchive(filter: {{ids: ["{run["id"]}"]}}) {{
            ... on BulkOperationSuccess {{ operation {{ requestedBy {{ kind id name }} }} }} }} }}"""
        assert (await ask(app, text))["bulkArchive"]["operation"]["requestedBy"] == actor
        events = await app.query(f'{{ auditEvents(filter: {{actorIds: ["{user_id}"]}}) {{ nodes {{ action }} }} }}')
        actions = [each["action"] for each in events["auditEvents"]["nodes"]]
        assert actions == ["BULK_ARCHIVE", "RETRY", "CANCEL", "START_RUN", "SIGN_IN"]


async def test_sign_out_ends_the_session_here_and_at_the_provider(database_url: str) -> None:
    async with signing_in(database_url) as (app, provider):
        await sign_in(app, provider)
        secret = app.http.cookies["flow_runs_session"]
        left = await app.http.post("/sign-out", headers={"x-request-id": "r-1"})
        url = urlsplit(left.json()["location"])
        params = {name: value[0] for name, value in parse_qs(url.query).items()}
        assert f"{url.scheme}://{url.netloc}{url.path}" == f"{provider.url}/logout"
        assert params["post_logout_redirect_uri"] == f"{BASE_URL}/"
        assert params["client_id"] == "flow-runs"
        assert params["id_token_hint"].count(".") == 2
        assert "flow_runs_session" not in app.http.cookies
        assert "flow_runs_id_token" not in app.http.cookies
        assert (await app.post(VIEWER, key=secret)).status_code == 401
        (event,) = (await app.query(EVENTS))["auditEvents"]["nodes"]
        assert (event["action"], event["actor"]["name"], event["requestId"]) == ("SIGN_OUT", "Ada L.", "r-1")
        # Signing out again does not involve the provider.
        assert (await app.http.post("/sign-out")).status_code == 204


async def test_sign_out_needs_no_provider(database_url: str) -> None:
    async with signing_in(database_url) as (app, provider):
        provider.metadata = {"end_session_endpoint": None}
        await sign_in(app, provider)
        assert (await app.http.post("/sign-out")).status_code == 204
        assert await ask(app, VIEWER) is None


async def test_person_changes_the_project_and_has_one_session(database_url: str) -> None:
    async with signing_in(database_url) as (app, provider):
        await sign_in(app, provider)
        first = app.http.cookies["flow_runs_session"]
        await sign_in(app, provider, "?project=other")
        viewer = (await ask(app, VIEWER))["viewer"]
        assert (viewer["role"], viewer["project"]) == ("ADMIN", {"name": "other"})
        assert (await app.post(VIEWER, key=first)).status_code == 401
        # A project that no group grants is not given.
        provider.claims["groups"] = ["support"]
        await sign_in(app, provider, "?project=other")
        viewer = (await ask(app, VIEWER))["viewer"]
        assert (viewer["role"], viewer["project"]) == ("VIEWER", {"name": "default"})


async def test_highest_role_of_all_groups_counts_and_all_projects_come_first(database_url: str) -> None:
    async with signing_in(database_url) as (app, provider):
        provider.claims["groups"] = ["support", "ops", "platform"]
        await sign_in(app, provider)
        viewer = (await ask(app, VIEWER))["viewer"]
        assert (viewer["role"], viewer["project"]) == ("ADMIN", None)
        await sign_in(app, provider, "?project=default")
        viewer = (await ask(app, VIEWER))["viewer"]
        assert (viewer["role"], viewer["project"]) == ("OPERATOR", {"name": "default"})


async def test_person_whose_groups_grant_nothing_is_refused(database_url: str) -> None:
    async with signing_in(database_url) as (app, provider):
        groups: Any
        for groups in ([], None, ["unknown"], ["gone"], 5, [["ops"]]):
            provider.claims["groups"] = groups
            response = await sign_in(app, provider)
            assert response.status_code == 403
            assert response.json()["errors"][0]["extensions"]["code"] == "SIGN_IN_REFUSED"
            assert "Ada L." in response.json()["errors"][0]["message"]
            assert await ask(app, VIEWER) is None


async def test_groups_come_from_the_userinfo_endpoint_if_the_token_has_none(database_url: str) -> None:
    async with signing_in(database_url) as (app, provider):
        provider.claims = {"sub": "ada"}
        provider.user_info = {"sub": "ada", "groups": ["ops"], "preferred_username": "ada\x00\n"}
        await sign_in(app, provider)
        assert (await ask(app, VIEWER))["viewer"]["keyName"] == "ada"
        provider.user_info["sub"] = "eve"
        assert (await sign_in(app, provider)).status_code == 502


async def test_session_expires_and_is_shown_and_pruned(fake_clock: FakeClock, database_url: str) -> None:
    async with signing_in(database_url, oidc_session_hours=1) as (app, provider):
        await sign_in(app, provider)
        keys = "{ apiKeys(active: true) { nodes { name userId } } }"
        sessions = [key for key in (await app.query(keys))["apiKeys"]["nodes"] if key["userId"]]
        assert [key["name"] for key in sessions] == ["Ada L."]
        fake_clock.jump(3_600)
        app.http.cookies.set("flow_runs_session", app.http.cookies["flow_runs_session"])
        assert await ask(app, VIEWER) is None
        assert await app.database.write(api_keys.purge_sessions) == 0
        fake_clock.jump(api_keys.SESSIONS_KEPT.total_seconds())
        assert await app.database.write(api_keys.purge_sessions) == 1


async def test_session_is_ended_by_an_administrator_and_never_rotated(database_url: str) -> None:
    async with signing_in(database_url) as (app, provider):
        await sign_in(app, provider)
        keys = (await app.query("{ apiKeys { nodes { id userId } } }"))["apiKeys"]["nodes"]
        (session,) = [key["id"] for key in keys if key["userId"]]
        text = 'mutation { result: %s(id: "%s") { __typename } }'
        assert await app.query(text % ("rotateApiKey", session)) == {"result": {"__typename": "ApiKeyNotActive"}}
        assert (await app.query(text % ("revokeApiKey", session)))["result"]["__typename"] == "RevokeApiKeySuccess"
        assert await ask(app, VIEWER) is None


RETURNS = {
    "/runs/run_1?tab=logs": "/runs/run_1?tab=logs",
    "/graphql#document=%7B%7D": "/graphql#document=%7B%7D",
    "//evil.example": "/",
    "/\\evil.example": "/",
    "/\tevil.example": "/",
    "https://evil.example": "/",
    "javascript:alert(1)": "/",
    "/\r\nset-cookie: a=b": "/",
    "evil": "/",
    "": "/",
    "/flows?" + "&" * 1_900: "/flows",
    "/runs/" + "&" * 1_900: "/",
}
"""The path to which a sign-in redirects, by the requested one."""


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_sign_in_returns_to_a_path_of_the_service_alone(database_url: str) -> None:
    async with signing_in(database_url) as (app, provider):
        below = {asked: RETURNS[asked] for asked in ("/runs/run_1?tab=logs", "//evil.example")}
        for prefix, returns in (("", RETURNS), ("/flowruns", below)):
            for asked, leads_to in returns.items():
                headers = {"x-forwarded-prefix": prefix}
                begun = await app.http.get("/sign-in/oidc", params={"returnTo": asked}, headers=headers)
                assert len(begun.headers["set-cookie"]) <= 4_096  # browsers drop longer ones
                query = provider.authorize(begun.headers["location"])
                # The test's client keeps cookies of another path to itself, which a browser below it would send.
                headers["cookie"] = begun.headers["set-cookie"].partition(";")[0]
                response = await app.http.get(f"/sign-in/oidc/callback?{query}", headers=headers)
                assert (response.status_code, response.headers["location"]) == (303, f"{prefix}{leads_to}")


async def test_addresses_follow_the_proxy_or_the_setting(new_database_url: Callable[[], str]) -> None:
    async with signing_in(new_database_url()) as (app, _):
        headers = {"x-forwarded-prefix": "/flowruns", "host": "ops.example"}
        begun = await app.http.get("https://flow-runs.test/sign-in/oidc", headers=headers)
        params = parse_qs(urlsplit(begun.headers["location"]).query)
        assert params["redirect_uri"] == ["https://ops.example/flowruns/sign-in/oidc/callback"]
        assert {"Secure", "Path=/flowruns/sign-in/oidc", "HttpOnly", "SameSite=lax"} <= set(
            begun.headers["set-cookie"].split("; ")
        )
    async with signing_in(new_database_url(), public_url="https://ops.example/flows/") as (app, _):
        begun = await app.http.get("/sign-in/oidc", headers={"host": "evil.example"})
        params = parse_qs(urlsplit(begun.headers["location"]).query)
        assert params["redirect_uri"] == ["https://ops.example/flows/sign-in/oidc/callback"]
        assert {"Secure", "Path=/flows/sign-in/oidc"} <= set(begun.headers["set-cookie"].split("; "))
        signed_in = await app.http.post("/sign-in", json={"key": app.keys.viewer})
        assert "Secure" in signed_in.headers["set-cookie"].split("; ")


async def test_answer_of_another_browser_or_of_another_sign_in_is_refused(database_url: str) -> None:
    async with signing_in(database_url) as (app, provider):
        query = provider.authorize(await begin(app))
        stolen = f"{ATTEMPT_COOKIE}={app.http.cookies[ATTEMPT_COOKIE]}"
        app.http.cookies.clear()

        async def finish(cookie: str) -> httpx.Response:
            return await app.http.get(f"/sign-in/oidc/callback?{query}", headers={"cookie": cookie})

        others = (
            quote('["","","","/","",""]'),
            "",
            "x",
            "%5B1%5D",
            quote('["a","b","c","/","",""]'),
            quote('["a","b","c","/","","x"]'),
        )
        for refused in [await finish(f"{ATTEMPT_COOKIE}={other}") for other in others]:
            assert (refused.status_code, refused.json()["errors"][0]["extensions"]["code"]) == (400, "SIGN_IN_EXPIRED")
        forged = {"cookie": f"{ATTEMPT_COOKIE}={others[0]}"}
        assert (await app.http.get("/sign-in/oidc/callback?code=a&state=", headers=forged)).status_code == 400
        assert "/token" not in provider.requests
        assert (await finish(stolen)).status_code == 303
        again = await finish(stolen)
        assert (again.status_code, again.json()["errors"][0]["extensions"]["code"]) == (400, "SIGN_IN_EXPIRED")


async def test_page_says_why_the_provider_refused(database_url: str) -> None:
    async with signing_in(database_url) as (app, provider):
        state = parse_qs(urlsplit(await begin(app)).query)["state"][0]
        params = {"state": state, "error": "access_denied", "error_description": "<script>alert(1)</script>"}
        refused = await app.http.get("/sign-in/oidc/callback", params=params, headers=HTML)
        assert refused.status_code == 403
        assert "access_denied &lt;script&gt;" in refused.text
        assert 'href="/sign-in/oidc?prompt=login"' in refused.text
        assert refused.headers["content-security-policy"].startswith("default-src 'none'")
        assert provider.requests.count("/token") == 0
        assert "prompt=login" in await begin(app, "?prompt=login")


async def test_without_a_provider_there_is_no_such_sign_in(idle_app: Any) -> None:
    assert (await idle_app.http.get("/sign-in/oidc")).status_code == 404


async def test_keys_sign_in_while_the_provider_is_away(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    # Port 9 is that of the discard service, which no machine for tests has.
    async with signing_in(database_url, oidc_issuer="http://127.0.0.1:9/") as (app, _):
        away = await app.http.get("/sign-in/oidc")
        assert away.status_code == 503
        assert away.json()["errors"][0]["extensions"]["code"] == "IDENTITY_PROVIDER_UNAVAILABLE"
        page = await app.http.get("/sign-in/oidc", headers=HTML)
        assert (page.status_code, page.headers["content-type"]) == (503, "text/html; charset=utf-8")
        assert "The identity provider cannot be reached. Try again later, or sign in with an API key." in page.text
        assert (await app.http.post("/sign-in", json={"key": app.keys.operator})).status_code == 204
        assert (await ask(app, VIEWER))["viewer"]["role"] == "OPERATOR"
    assert "sign-in does not work yet" in caplog.text
