"""Top-level errors: each has a code, and of ours the client learns a number alone."""

import logging
from typing import Any

import pytest

from tests.support.app import App
from tests.support.query import query
from tests.support.run_family import make_run_family

PRIVATE = ("Traceback", "File ", "SELECT", "flow_run", "sqlalchemy", "asyncpg", "aiosqlite", "OperationalError")


@pytest.mark.parametrize(
    ("text", "variables", "said"),
    [
        ("{ viewer {", {}, "Syntax Error"),
        ("", {}, None),
        ("{ nope }", {}, "Cannot query field 'nope'"),
        ("{ viewer }", {}, "must have a selection of subfields"),
        ("query($id: ID!) { flow(id: $id) { id } }", {}, "Variable '$id'"),
        ("query($n: Int) { flows(first: $n) { totalCount } }", {"n": "x"}, "Variable '$n'"),
        ("query($n: Int) { flows(first: $n) { totalCount } }", {"n": 2**31}, "Variable '$n'"),
        ("query($o: FlowRunOrder) { flowRuns(orderBy: $o) { totalCount } }", {"o": {"field": "X"}}, "Variable '$o'"),
        ("subscription { x }", {}, "Cannot query field 'x'"),
        ("mutation { createFlow { __typename } }", {}, "is required"),
    ],
)
@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_faulty_document_is_a_bad_request(
    idle_app: App, text: str, variables: dict[str, Any], said: str | None
) -> None:
    body = await idle_app.execute(text, variables)
    assert "data" not in body
    assert {error["extensions"]["code"] for error in body["errors"]} == {"BAD_REQUEST"}
    assert said is None or said in body["errors"][0]["message"]


async def test_operation_is_chosen_by_its_name(idle_app: App) -> None:
    text = "query A { viewer { role } } query B { viewer { keyName } }"
    assert "role" in (await idle_app.query(text, operation="A"))["viewer"]
    assert "keyName" in (await idle_app.query(text, operation="B"))["viewer"]
    assert await idle_app.error_code(text, operation="C") == "BAD_REQUEST"
    assert await idle_app.error_code(text) == "BAD_REQUEST"
    assert "role" in (await idle_app.query("query A { viewer { role } }"))["viewer"]


async def test_error_of_a_field_says_where_and_leaves_the_rest(idle_app: App) -> None:
    body = await idle_app.execute('{ bad: flow(id: "x") { id } viewer { role } }')
    assert body["data"] == {"bad": None, "viewer": {"role": "ADMIN"}}
    (error,) = body["errors"]
    assert error["path"] == ["bad"]
    assert error["locations"] == [{"line": 1, "column": 3}]
    assert error["extensions"] == {"code": "INVALID_ID"}


async def test_internal_error_is_masked_and_its_number_stands_in_the_log(
    idle_app: App, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    family = await make_run_family(idle_app)
    await query(database_url, "UPDATE flow_run SET status = 'NONSENSE'")
    with caplog.at_level(logging.ERROR):
        response = await idle_app.post("query($id: ID!) { flowRun(id: $id) { status } }", {"id": family.failed})
    (error,) = response.json()["errors"]
    number = error["extensions"]["correlationId"]
    assert error["extensions"] == {"code": "INTERNAL_ERROR", "correlationId": number}
    assert number in error["message"]
    (record,) = [record for record in caplog.records if record.name == "schema.errors"]
    assert vars(record)["correlation_id"] == number
    assert record.exc_info is not None
    assert "NONSENSE" in str(record.exc_info[1])
    assert [word for word in (*PRIVATE, "NONSENSE") if word in response.text] == []


async def test_fault_of_the_database_is_masked_too(
    idle_app: App, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    await query(database_url, "ALTER TABLE flow RENAME TO elsewhere")
    response = await idle_app.post("{ flows { nodes { id } } }")
    (error,) = response.json()["errors"]
    assert error["extensions"]["code"] in {"INTERNAL_ERROR", "DATABASE_UNAVAILABLE"}
    assert [word for word in (*PRIVATE, "elsewhere") if word in response.text] == []


async def test_two_internal_errors_have_two_numbers(
    idle_app: App, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    family = await make_run_family(idle_app)
    await query(database_url, "UPDATE flow_run SET status = 'NONSENSE'")
    text = "query($id: ID!) { a: flowRun(id: $id) { status } b: flowRun(id: $id) { status } }"
    errors = (await idle_app.execute(text, {"id": family.failed}))["errors"]
    assert len({error["extensions"]["correlationId"] for error in errors}) == 2


async def test_messages_for_people_stand_in_the_contract_of_mutations(idle_app: App) -> None:
    flow = await idle_app.create_flow(None)
    answer = await idle_app.start(flow)
    assert answer == {
        "__typename": "FlowNotPublished",
        "code": "FLOW_NOT_PUBLISHED",
        "message": "The flow has no published version. Publish one with `publishFlowVersion`.",
    }


async def test_step_name_that_cannot_be_is_unknown(idle_app: App) -> None:
    family = await make_run_family(idle_app)
    text = "query($id: ID!, $name: String!) { flowRun(id: $id) { step(name: $name) { name } } }"
    for name in ("a\0b", "", "nope", "x" * 10_000):
        assert (await idle_app.query(text, {"id": family.failed, "name": name}))["flowRun"]["step"] is None
