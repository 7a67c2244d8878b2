"""Requests that are made to cost the service much: they are refused before they do, and name what is wrong."""

from importlib import import_module
from typing import Any

import pytest
from graphql.language.lexer import Lexer

from schema.build import build_schema
from schema.documents import ParsedDocuments, RecentDocuments
from service.http.documents import MAX_CHARACTERS
from tests.support.app import App
from tests.support.run_family import make_flow, make_runs

FILTERED = "query($filter: FlowRunFilter, $first: Int) { flowRuns(filter: $filter, first: $first) { totalCount } }"
ECHO = {"steps": [{"name": "echo", "kind": "transform", "input": "{{ run.input }}"}]}
STREAM = {"accept": "text/event-stream"}


def steps_taken(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[Any]:
    """Records the calls of the function `name` of `module`."""
    calls: list[Any] = []
    function = getattr(module, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return function(*args, **kwargs)

    monkeypatch.setattr(module, name, counted)
    return calls


@pytest.mark.parametrize("value", ["9" * 5_000, "-" + "9" * 5_000, "1e999"])
async def test_number_of_any_length_is_an_error_of_its_argument(either_app: App, value: str) -> None:
    body = f'{{"query": "{FILTERED}", "variables": {{"first": {value}}}}}'
    headers = {"authorization": f"Bearer {either_app.keys.viewer}", "content-type": "application/json"}
    answer = await either_app.http.post("/graphql", content=body, headers=headers)
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["extensions"]["code"]) == (200, "BAD_REQUEST")
    assert "$first" in error["message"]
    url = {"query": FILTERED, "variables": f'{{"first": {value}}}'}
    assert (await either_app.http.get("/graphql", params=url, headers=headers)).json()["errors"] == [error]


@pytest.mark.parametrize("rest", ["[" * 100_000, "[" * 100_000 + "]" * 100_000, '"\\ud800"'])
async def test_number_beyond_the_range_hides_no_malformed_json(idle_app: App, rest: str) -> None:
    body = f'{{"variables": {{"number": 1e999, "other": {rest}}}, "query": "{{ viewer {{ role }} }}"}}'
    headers = {"authorization": f"Bearer {idle_app.keys.viewer}", "content-type": "application/json"}
    answer = await idle_app.http.post("/graphql", content=body, headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (400, "BAD_REQUEST")


async def test_number_of_errors_in_variables_is_bounded(either_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = steps_taken(monkeypatch, import_module("graphql.utilities.validate_input_value"), "suggestion_list")
    for wrong in ({f"statuse{number}": 1 for number in range(300)}, {"statuses": ["SUCCEEDEE"] * 300}):
        errors = (await either_app.execute(FILTERED, {"filter": wrong}, key=either_app.keys.viewer))["errors"]
        assert len(errors) <= 51
    assert len(calls) <= 110


async def test_long_documents_are_refused_unparsed(either_app: App) -> None:
    query = "{ viewer { role } } #"
    longest, too_long = (query + "x" * (length - len(query)) for length in (MAX_CHARACTERS, MAX_CHARACTERS + 1))
    assert await either_app.query(longest)
    assert await either_app.error_code(too_long) == "QUERY_TOO_COMPLEX"


async def test_tokens_of_documents_are_limited_wherever_they_are_parsed(
    idle_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also to find the type of an operation, which event streams and subscriptions without one need."""
    tokens: list[Any] = steps_taken(monkeypatch, Lexer, "advance")
    for query, headers in (("{" + "a " * 40_000 + "}", STREAM), ("subscription {" + "a " * 40_000 + "}", {})):
        tokens.clear()
        assert "4000 tokens" in (await idle_app.post(query, headers=headers)).text
        assert len(tokens) < 20_000


def test_memory_of_kept_documents_is_bounded() -> None:
    kept: RecentDocuments[str, int] = RecentDocuments(documents=3, characters=100)
    for number, length in enumerate((10, 10, 10, 10)):
        kept.put(str(number), number, length)
    assert [kept.find(str(number)) for number in range(4)] == [None, 1, 2, 3]
    assert kept.put("long", 4, 11) == 4
    assert kept.find("long") is None
    lengths = RecentDocuments[str, int](documents=100, characters=100)
    for number in range(20):
        lengths.put(str(number), number, 10)
        lengths.find("0")  # what is used stays
    assert [number for number in range(20) if lengths.find(str(number)) is not None] == [0, *range(11, 20)]
    schema = build_schema()
    documents = ParsedDocuments(schema._schema)
    assert documents.parse("{ viewer { role } }") is documents.parse("{ viewer { role } }")


async def test_character_that_no_text_can_have_is_refused_by_the_steps_of_retries(idle_app: App) -> None:
    (run,) = await make_runs(idle_app, await make_flow(idle_app, "failing"), {"status": "FAILED"})
    start = 'stepName: "a\\u0000"'
    for call in (
        f'retry(runId: "{run}", strategy: FROM_STEP, {start})',
        f'rerun(runId: "{run}", {start})',
    ):
        assert await idle_app.error_code(f"mutation {{ {call} {{ __typename }} }}") == "INVALID_ARGUMENT"


async def test_number_of_fields_of_a_form_is_limited(idle_app: App) -> None:
    created = await idle_app.query(
        """mutation($flow: ID!) { result: createWebhook(flowId: $flow, name: "calls") {
            ... on CreateWebhookSuccess { token } } }""",
        {"flow": await idle_app.create_flow(ECHO)},
    )
    headers = {"content-type": "application/x-www-form-urlencoded"}
    for fields, status in ((10_000, 202), (10_001, 413)):
        form = "&".join(f"a{number}" for number in range(fields))
        answer = await idle_app.http.post(f"/hooks/{created['result']['token']}", content=form, headers=headers)
        assert answer.status_code == status
