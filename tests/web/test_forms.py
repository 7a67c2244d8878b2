"""Forms of questions and of inputs whose schemas are not the usual object of texts."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.web.console import WIDE, Service, assert_accessible, page_of, sign_in

DECISION = {
    "type": "object",
    "required": ["approved"],
    "properties": {
        "approved": {"type": "boolean", "title": "Approved"},
        "urgent": {"type": "boolean", "title": "Urgent"},
        "from": {"type": "string", "format": "date-time", "title": "From"},
        "day": {"type": "string", "format": "date", "title": "Day"},
        "extra": {},
        "lines": {"type": "array", "items": {"type": "string"}, "title": "Lines"},
        # A pattern that the service can read and a browser cannot.
        "code": {"type": "string", "pattern": r"(?i)^[a-z]+\-\d+$", "title": "Code"},
    },
}


@contextmanager
def flow(service: Service, definition: dict[str, Any]) -> Iterator[str]:
    """Creates a flow for one test, yields its name, and deletes it with its runs."""
    name = f"form {uuid4().hex}"
    service.create_flow(name, definition)
    try:
        yield name
    finally:
        delete = "mutation ($id: ID!) { deleteFlow(flowId: $id) { ... on UserError { code } } }"
        assert service.ask(delete, id=service.flows.pop(name)) == {"deleteFlow": {}}


def asking(schema: dict[str, Any]) -> dict[str, Any]:
    question = {"title": "How now?", "description": "Line one\nline two", "schema": schema}
    return {"steps": [{"name": "ask", "kind": "humanInput", "input": question}]}


@contextmanager
def question(page: Page, service: Service, schema: dict[str, Any]) -> Iterator[tuple[str, Locator]]:
    """Opens the page of a run that asks for a value of `schema`; yields the ID of the run and the question."""
    with flow(service, asking(schema)) as name:
        run_id = service.run(name, wait=False)
        page.goto(f"{service.url}/runs/{run_id}")
        asked = page.get_by_role("region", name="How now?")
        expect(asked.get_by_role("button", name="Respond")).to_be_visible()
        yield run_id, asked


def answer(page: Page, service: Service, run_id: str, asked: Locator) -> Any:
    """Sends the form, and returns the answer that the service has."""
    asked.get_by_role("button", name="Respond").click()
    expect(page.get_by_role("button", name="Run again")).to_be_visible()
    return service.ask("query ($id: ID!) { flowRun(id: $id) { output } }", id=run_id)["flowRun"]["output"]


def test_decision_can_be_no_but_not_by_saying_nothing(page: Page, service: Service) -> None:
    with question(page, service, DECISION) as (run_id, asked):
        assert_accessible(page, "the form of a decision")
        assert asked.get_by_text("Line one").inner_text() == "Line one\nline two"
        asked.get_by_role("button", name="Respond").click()
        expect(asked.get_by_text("is required").first).to_be_visible()
        asked.get_by_role("radio", name="No").check()
        assert answer(page, service, run_id, asked) == {"approved": False}


def test_times_json_and_patterns_are_entered(browser: Browser, service: Service) -> None:
    with browser.new_context(viewport=WIDE, timezone_id="America/New_York") as context:
        sign_in(context, service.url, service.key)
        with page_of(context, service.url) as page, question(page, service, DECISION) as (run_id, asked):
            asked.get_by_role("radio", name="Yes").check()
            asked.get_by_role("checkbox", name="Urgent").check()
            # The clock change skips this hour.
            asked.get_by_label("From").fill("2026-03-08T02:30")
            asked.get_by_label("Day").fill("2026-02-28")
            asked.get_by_label("Code").fill("AB-12")
            asked.get_by_label("extra").fill('{"deep": [1, null]}')
            assert answer(page, service, run_id, asked) == {
                "approved": True,
                "urgent": True,
                "from": "2026-03-08T07:30:00.000Z",
                "day": "2026-02-28",
                "code": "AB-12",
                "extra": {"deep": [1, None]},
            }


@pytest.mark.parametrize(
    ("schema", "text", "expected"),
    [
        ({"type": "string", "minLength": 2}, "fine", "fine"),
        ({"type": "integer"}, "7", 7),
        ({}, "[1, 2]", [1, 2]),
        ({"type": "string", "format": "date"}, "2026-02-28", "2026-02-28"),
    ],
    ids=["text", "number", "anything", "date"],
)
def test_answer_is_a_single_value(
    page: Page, service: Service, schema: dict[str, Any], text: str, expected: object
) -> None:
    with question(page, service, schema) as (run_id, asked):
        assert_accessible(page, "the form of a single value")
        asked.get_by_role("button", name="Respond").click()
        expect(asked).to_be_visible()
        asked.get_by_label("Your answer").fill(text)
        assert answer(page, service, run_id, asked) == expected


def test_single_yes_or_no_is_answered(page: Page, service: Service) -> None:
    with question(page, service, {"type": "boolean"}) as (run_id, asked):
        assert_accessible(page, "the form of yes or no")
        asked.get_by_role("button", name="Respond").click()
        expect(asked.get_by_text("is required").first).to_be_visible()
        asked.get_by_role("radio", name="No").check()
        assert answer(page, service, run_id, asked) is False


def test_text_that_is_not_json_is_not_sent(page: Page, service: Service) -> None:
    with question(page, service, {}) as (run_id, asked):
        asked.get_by_label("Your answer").fill("{nope")
        expect(asked.get_by_text("This is not JSON")).to_be_visible()
        asked.get_by_role("button", name="Respond").click()
        expect(asked.get_by_label("Your answer")).to_be_focused()
        asked.get_by_label("Your answer").fill('"yes"')
        assert answer(page, service, run_id, asked) == "yes"


def test_input_of_any_schema_starts_a_run(page: Page, service: Service) -> None:
    definition = {
        "inputSchema": {"type": "array", "items": {}, "minItems": 1},
        "steps": [{"name": "echo", "kind": "transform", "input": "{{ run.input }}"}],
    }
    with flow(service, definition) as name:
        page.goto(f"{service.url}/flows/{service.flows[name]}?tab=run")
        page.get_by_role("textbox").last.fill("7")
        assert_accessible(page, "the form of a list")
        page.get_by_role("button", name="Start a run").click()
        expect(page.get_by_role("button", name="Run again")).to_be_visible()
        run_id = page.url.rsplit("/", 1)[-1]
        status = "query ($id: ID!) { flowRun(id: $id) { input } }"
        assert service.ask(status, id=run_id)["flowRun"]["input"] == [7]
