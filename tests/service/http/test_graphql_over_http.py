"""Tests of the endpoint against the GraphQL-over-HTTP specification."""

from typing import Any

import httpx
import pytest

from tests.support.app import App, run_app

JSON, GRAPHQL = "application/json", "application/graphql-response+json"
ROLE = "{ viewer { role } }"
FAULTY = {
    "syntax": {"query": "{ viewer {"},
    "validation": {"query": "{ nope }"},
    "variables": {"query": "query($id: ID!) { flow(id: $id) { id } }"},
    "operation": {"query": "query A { viewer { role } } query B { viewer { role } }"},
    "limits": {"query": "{ flowRuns(first: 1000) { nodes { childRuns(first: 1000) { nodes { id } } } } }"},
}
pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


async def post(app: App, body: Any, accept: str = JSON, **headers: str) -> httpx.Response:
    shown = {"authorization": f"Bearer {app.keys.admin}", "accept": accept, "content-type": JSON, **headers}
    if isinstance(body, bytes):
        return await app.http.post("/graphql", content=body, headers=shown)
    return await app.http.post("/graphql", json=body, headers=shown)


async def get(app: App, **params: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {app.keys.admin}"}
    return await app.http.get("/graphql", params=params, headers=headers)


def code(response: httpx.Response) -> str:
    (error,) = response.json()["errors"]
    found: str = error["extensions"]["code"]
    return found


@pytest.mark.parametrize("accept", [JSON, GRAPHQL, f"{GRAPHQL}, {JSON};q=0.9", f"{GRAPHQL} ; q=high , {JSON}"])
async def test_response_has_accepted_media_type(idle_app: App, accept: str) -> None:
    response = await post(idle_app, {"query": ROLE}, accept)
    assert response.status_code == 200
    assert response.headers["content-type"] == f"{accept.partition(',')[0].partition(' ')[0]}; charset=utf-8"
    assert response.json() == {"data": {"viewer": {"role": "ADMIN"}}}


@pytest.mark.parametrize(
    "accept",
    ["*/*", "", "text/plain", f"{GRAPHQL};q=0.5, {JSON};q=0.9", f"{GRAPHQL};q=0.2,{JSON}", f"{GRAPHQL}; q=0, */*"],
)
async def test_response_is_json_by_default_and_if_preferred(idle_app: App, accept: str) -> None:
    response = await post(idle_app, {"query": ROLE}, accept)
    assert response.headers["content-type"] == f"{JSON}; charset=utf-8"


@pytest.mark.parametrize("name", FAULTY)
async def test_document_that_is_not_executed_has_no_data_and_status_of_media_type(idle_app: App, name: str) -> None:
    old, new = [await post(idle_app, FAULTY[name], accept) for accept in (JSON, GRAPHQL)]
    assert (old.status_code, new.status_code) == (200, 400)
    assert old.json() == new.json()
    assert set(new.json()) == {"errors"}
    assert code(new) in {"BAD_REQUEST", "QUERY_TOO_COMPLEX"}


@pytest.mark.parametrize("accept", [JSON, GRAPHQL])
async def test_field_error_has_status_200_and_data(idle_app: App, accept: str) -> None:
    response = await post(idle_app, {"query": '{ flow(id: "x") { id } }'}, accept)
    assert response.status_code == 200
    assert response.json()["data"] == {"flow": None}


async def test_get_executes_query(idle_app: App) -> None:
    assert (await get(idle_app, query=ROLE)).json() == {"data": {"viewer": {"role": "ADMIN"}}}
    text = "query A($n: Int) { flows(first: $n) { totalCount } } query B { viewer { role } }"
    response = await get(idle_app, query=text, variables='{"n": 1}', operationName="A")
    assert response.json() == {"data": {"flows": {"totalCount": 0}}}


async def test_get_refuses_mutation(idle_app: App) -> None:
    response = await get(idle_app, query='mutation { createFlow(name: "x") { __typename } }')
    assert (response.status_code, response.headers["allow"], code(response)) == (405, "POST", "BAD_REQUEST")
    assert (await idle_app.query("{ flows { totalCount } }"))["flows"]["totalCount"] == 0


@pytest.mark.parametrize("params", [{}, {"variables": "{}"}, {"query": ""}, {"query": ROLE, "variables": "{"}])
async def test_get_without_query_is_bad_request(idle_app: App, params: dict[str, str]) -> None:
    response = await get(idle_app, **params)
    assert (response.status_code, code(response)) == (400, "BAD_REQUEST")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"5",
        b"null",
        b'"{ viewer { role } }"',
        b"[]",
        b"{}",
        b'{"query": null}',
        b'{"query": 5}',
        b'{"query": ""}',
        b'{"query": "{ viewer { role } }", "variables": []}',
        b'{"query": "{ viewer { role } }", "variables": {"a": NaN}}',
        b'{"query": "{ viewer { role } }", "variables": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        b'[{"query": "{ viewer { role } }"}]',
    ],
    ids=lambda body: repr(body[:60]),
)
async def test_invalid_request_is_bad_request(idle_app: App, body: bytes) -> None:
    response = await post(idle_app, body)
    assert (response.status_code, code(response)) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("kind", ["text/plain", "application/graphql", "application/x-www-form-urlencoded", ""])
async def test_other_content_types_are_refused(idle_app: App, kind: str) -> None:
    response = await post(idle_app, b'{"query": "{ viewer { role } }"}', **{"content-type": kind})
    assert (response.status_code, code(response)) == (415, "BAD_REQUEST")


@pytest.mark.parametrize(
    ("charset", "status"), [("utf-8", 200), ('"UTF8"', 200), ("us-ascii", 200), ("iso-8859-1", 415), ("bogus", 415)]
)
async def test_charset_can_be_declared_if_it_is_that_of_json(idle_app: App, charset: str, status: int) -> None:
    response = await post(idle_app, {"query": ROLE}, **{"content-type": f"{JSON}; charset={charset}"})
    assert response.status_code == status


@pytest.mark.parametrize(
    "parameter", ["query={viewer{role}}%23%FF", "query={viewer{role}}&variables={%22a%22:%22%E9%22}"]
)
async def test_parameters_that_are_not_utf_8_are_refused(idle_app: App, parameter: str) -> None:
    headers = {"authorization": f"Bearer {idle_app.keys.admin}"}
    response = await idle_app.http.get(f"/graphql?{parameter}", headers=headers)
    assert (response.status_code, code(response)) == (400, "BAD_REQUEST")


async def test_byte_order_mark_is_ignored(idle_app: App) -> None:
    assert (await post(idle_app, b'\xef\xbb\xbf{"query": "{ viewer { role } }"}')).json()["data"]["viewer"]


async def test_media_types_have_no_case(idle_app: App) -> None:
    response = await post(idle_app, {"query": ROLE}, GRAPHQL.upper(), **{"content-type": "Application/JSON"})
    assert (response.status_code, response.headers["content-type"]) == (200, f"{GRAPHQL}; charset=utf-8")


async def test_several_accept_headers_are_one_list(idle_app: App) -> None:
    shown = [("authorization", f"Bearer {idle_app.keys.admin}"), ("accept", JSON), ("accept", "Text/Event-Stream")]
    query = "subscription { nope }"
    response = await idle_app.http.post("/graphql", json={"query": query}, headers=shown)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    shown[2] = ("accept", GRAPHQL)
    response = await idle_app.http.post("/graphql", json={"query": ROLE}, headers=shown)
    assert response.headers["content-type"] == f"{GRAPHQL}; charset=utf-8"


async def test_media_type_with_quality_zero_is_not_accepted(idle_app: App) -> None:
    response = await post(idle_app, {"query": ROLE}, f"{GRAPHQL};q=0.0, {JSON}")
    assert response.headers["content-type"] == f"{JSON}; charset=utf-8"


REFUSED: dict[str, tuple[Any, dict[str, str], int]] = {
    "wrong key": ({"query": ROLE}, {"authorization": "Bearer wrong"}, 401),
    "no query": ({}, {}, 400),
    "batch": ([{"query": ROLE}], {}, 400),
    "unknown operation": ({"query": ROLE, "operationName": "X"}, {}, 400),
    "subscription": ({"query": "subscription { flowRunStatusChanged { __typename } }"}, {}, 406),
    "no JSON": (b"{", {}, 400),
    "content type": (b"{}", {"content-type": "text/plain"}, 415),
    "too large": (b" " * 5_000_000, {}, 413),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("accept", [JSON, f"{GRAPHQL}, {JSON};q=0.9"])
async def test_refusal_has_accepted_media_type(idle_app: App, name: str, accept: str) -> None:
    body, headers, status = REFUSED[name]
    response = await post(idle_app, body, accept, **headers)
    assert (response.status_code, response.headers["content-type"].partition(";")[0]) == (
        status,
        accept.partition(",")[0],
    )
    assert code(response)


@pytest.mark.parametrize("name", ["operationName", "variables", "extensions"])
async def test_blank_parameter_of_get_is_absent(idle_app: App, name: str) -> None:
    assert (await get(idle_app, query=ROLE, **{name: ""})).json() == {"data": {"viewer": {"role": "ADMIN"}}}


async def test_blank_operation_name_is_absent(idle_app: App) -> None:
    assert (await post(idle_app, {"query": ROLE, "operationName": ""})).json() == {
        "data": {"viewer": {"role": "ADMIN"}}
    }
    two = {"query": "query A { viewer { role } } query B { viewer { role } }", "operationName": ""}
    assert code(await post(idle_app, two)) == "BAD_REQUEST"


async def test_wrong_key_is_wrong_beside_a_good_cookie(idle_app: App) -> None:
    cookie = f"flow_runs_session={idle_app.keys.admin}"
    response = await post(idle_app, {"query": ROLE}, authorization="Bearer wrong", cookie=cookie)
    assert (response.status_code, code(response)) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize(
    ("given", "input_"),
    [({}, {"list": [], "inner": {}}), ({"x": 5}, {"a": 5, "list": [5], "inner": {"b": 5}}), ({"x": None}, None)],
    ids=["unset", "set", "null"],
)
async def test_unset_variable_in_a_json_literal_leaves_its_field_out(
    idle_app: App, given: dict[str, Any], input_: Any
) -> None:
    flow = await idle_app.create_flow({"steps": [{"name": "a", "kind": "transform", "input": 1}]})
    query = """mutation($flow: ID!, $x: Int) { startRun(input: {
        flowId: $flow, input: {a: $x, list: [$x], inner: {b: $x}}}) { ... on StartRunSuccess { run { input } } } }"""
    run = (await idle_app.query(query, {"flow": flow, **given}))["startRun"]["run"]
    expected = input_ or {"a": None, "list": [None], "inner": {"b": None}}
    if not given:
        expected = {"list": [None], "inner": {}}  # GraphQL has no hole in a list: an unset item is null
    assert run["input"] == expected


async def test_too_large_body_is_refused(database_url: str) -> None:
    async with run_app(database_url, with_worker=False, max_body_bytes=10_000) as app:
        assert (await post(app, {"query": ROLE + " " * 9_000})).status_code == 200
        response = await post(app, {"query": ROLE + " " * 10_000})
        assert (response.status_code, code(response)) == (413, "PAYLOAD_TOO_LARGE")

        async def chunks() -> Any:
            for _ in range(20):
                yield b" " * 1_000

        headers = {"authorization": f"Bearer {app.keys.admin}", "content-type": JSON}
        response = await app.http.post("/graphql", content=chunks(), headers=headers)
        assert (response.status_code, code(response)) == (413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_other_methods_are_refused(idle_app: App, method: str) -> None:
    response = await idle_app.http.request(method, "/graphql")
    assert response.status_code == 405
    assert set(response.headers["allow"].split(", ")) >= {"GET", "POST"}


async def test_json_columns_are_returned_as_stored(idle_app: App) -> None:
    flow = await idle_app.create_flow({"steps": [{"name": "a", "kind": "transform", "input": 1}]})
    answer = await idle_app.start(flow, input={"z": 1, "a": "é\u2028"}, select="input")
    assert list(answer["run"]["input"].items()) == [("z", 1), ("a", "é\u2028")]
