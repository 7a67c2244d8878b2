"""What pages say at wrong addresses and in the tab of the browser, and names and dates of any length and direction."""

import re
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.web.console import NARROW, Service, assert_accessible, page_of, sign_in

UNKNOWN = "01a22fd4b593706890ce5fee764b0899"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/runs", "There is no such page"),
        ("/nothing/here", "There is no such page"),
        ("/runs/xyz", "This could not be loaded"),
        (f"/runs/run_{UNKNOWN}", "There is no run with this ID"),
        (f"/flows/flow_{UNKNOWN}", "There is no flow with this ID"),
        (f"/bulk/bulk_{UNKNOWN}", "There is no bulk operation with this ID"),
    ],
)
def test_wrong_address_says_so_and_leads_on(page: Page, service: Service, path: str, says: str) -> None:
    page.goto(f"{service.url}{path}")
    expect(page.get_by_role("heading", name=says)).to_be_visible()
    assert_accessible(page, path)
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Flows").click()
    expect(page.get_by_role("heading", name="Flows")).to_be_visible()


def test_tabs_are_named_after_their_pages(page: Page, service: Service) -> None:
    run_id = service.run("hello")
    page.goto(f"{service.url}/runs/{run_id}")
    expect(page).to_have_title("hello, succeeded · Flow Runs")
    page.get_by_role("link", name="Inbox").click()
    expect(page).to_have_title("Inbox · Flow Runs")
    page.goto(f"{service.url}/operate?tab=holds")
    expect(page).to_have_title("Holds · Flow Runs")
    page.go_back()
    page.go_back()
    expect(page).to_have_title("hello, succeeded · Flow Runs")


def test_name_of_one_long_word_moves_no_button_off_the_screen(page: Page, service: Service) -> None:
    name = "a_name_without_a_space_" * 6 + uuid4().hex
    service.create_flow(name, {"steps": [{"name": "only", "kind": "transform", "input": 1}]})
    flow_id = service.flows.pop(name)
    try:
        run_id = service.ask(
            "mutation ($f: ID!) { startRun(input: {flowId: $f, waitMs: 20000}) {"
            " ... on StartRunSuccess { run { id } } } }",
            f=flow_id,
        )["startRun"]["run"]["id"]
        tag = "mutation ($r: ID!, $t: [String!]) { updateRun(runId: $r, tags: $t) { __typename } }"
        service.ask(tag, r=run_id, t=["a_tag_without_a_space_" * 4])
        page.goto(f"{service.url}/flows")
        expect(page.get_by_role("row").filter(has_text=name).get_by_role("link", name="Runs")).to_be_in_viewport(
            ratio=1
        )
        page.set_viewport_size(NARROW)
        page.goto(f"{service.url}/runs/{run_id}")
        expect(page.get_by_role("button", name="Run again")).to_be_in_viewport(ratio=1)
        expect(page.get_by_role("button", name="Compare with…")).to_be_in_viewport(ratio=1)
        expect(page.get_by_role("link", name="a_tag_without_a_space_")).to_be_in_viewport(ratio=1)
    finally:
        service.ask("mutation ($f: ID!) { deleteFlow(flowId: $f) { __typename } }", f=flow_id)


def test_dates_are_those_of_the_language_in_its_direction(browser: Browser, service: Service) -> None:
    run_id = service.run("hello")
    for language, direction in (("he", "rtl"), ("en-GB", "ltr")):
        with browser.new_context(locale=language) as context:
            sign_in(context, service.url, service.key)
            with page_of(context, service.url) as page:
                page.goto(f"{service.url}/runs/{run_id}")
                created = page.locator("span").filter(has_text=re.compile("^Created ")).get_by_role("time")
                expect(created).to_have_css("direction", direction)
