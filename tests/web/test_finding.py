"""Finding runs, keeping filters, comparing runs, and failures by error, in a real browser on both databases."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, Request, Route, expect

from tests.web.console import AXE, NARROW, WIDE, Service, page_of, sign_in

ORDERS = {
    "summary": "Order {{ run.input.order }} of {{ run.input.customer }}",
    "steps": [
        {"name": "price", "kind": "transform", "input": {"total": "{{ run.input.total }}"}},
        {"name": "share", "kind": "transform", "input": "{{ 100 // run.input.shares }}"},
    ],
    "output": "{{ steps.share.output }}",
}
NO_RUN = f"run_{'0' * 32}"


# As long as the service: a process may come back to this file after others.
@pytest.fixture(scope="package")
def orders(service: Service) -> tuple[str, str]:
    """The IDs of a good and of a bad run of a flow with a summary. The bad one divides by zero."""
    service.create_flow("orders", ORDERS)
    tags = ["of-orders", "region:eu"]
    good = {"order": 7, "customer": "acme", "total": 30, "shares": 4}
    bad = {"order": 8, "customer": "globex", "total": 40, "shares": 0}
    return (
        service.run("orders", input=good, tags=tags, metadata={"customer": {"id": "acme", "plan": "pro"}}),
        service.run("orders", input=bad, tags=["of-orders", "region:us"], metadata={"customer": {"id": "globex"}}),
    )


@contextmanager
def signed_in(browser: Browser, service: Service, key: str) -> Iterator[Page]:
    """A page of a browser that is signed in with another key."""
    with browser.new_context(viewport=WIDE) as context:
        sign_in(context, service.url, key)
        with page_of(context, service.url) as page:
            yield page


def operation(request: Request) -> str:
    """The name of the operation that a request executes; empty for other requests."""
    return str(json.loads(request.post_data or "{}").get("operationName", "")) if "/graphql" in request.url else ""


def held(page: Page) -> dict[str, list[str]]:
    """The filter that the address holds."""
    return parse_qs(urlsplit(page.url).query)


def field(page: Page, name: str) -> Locator:
    return page.get_by_role("combobox", name=name, exact=True)


def test_filters_are_chosen_from_the_values_that_runs_have(
    page: Page, service: Service, orders: tuple[str, str]
) -> None:
    read: list[str] = []
    page.on("request", lambda request: read.append(operation(request)))
    page.goto(f"{service.url}/?tags=of-orders")
    expect(page.get_by_role("link", name="orders")).to_have_count(2)
    page.get_by_role("button", name="More filters").click()
    expect(field(page, "Environment")).to_be_focused()
    assert not [name for name in read if name.startswith("picker")]

    # By keyboard: a prefix, an arrow, Enter.
    field(page, "Any of these tags").press_sequentially("REG")
    expect(page.get_by_role("option")).to_have_text([re.compile(r"region:(eu|us)1")] * 2)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name=re.compile("Remove Any tag region:"))).to_be_visible()
    page.get_by_role("button", name="Clear all").click()
    expect(field(page, "Environment")).to_have_count(0)

    page.get_by_role("button", name="More filters").click()
    field(page, "Failed step").click()
    page.get_by_role("option", name=re.compile("^share")).click()
    field(page, "Error fingerprint").fill("division")
    page.get_by_role("option", name=re.compile("^Division by zero")).click()
    expect(page).to_have_url(re.compile("errorFingerprint"))
    assert held(page)["failedStepName"] == ["share"]
    field(page, "Metadata path").fill("customer.")
    page.get_by_role("option", name=re.compile("^customer.id")).click()
    field(page, "Metadata value").click()
    page.get_by_role("option", name=re.compile("^globex")).click()
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page).to_have_url(re.compile("metadataConditions"))
    field(page, "Waits for").press("ArrowDown")
    page.get_by_role("option", name="An answer").click()
    page.get_by_text("Finished", exact=True).click()
    field(page, "Finished within").press("ArrowDown")
    page.get_by_role("option", name="Last 7 days").click()
    expect(page).to_have_url(re.compile("finishedWithin=P7D"))
    page.keyboard.press("Escape")
    expect(page.get_by_text("No run matches these filters")).to_be_visible()
    page.get_by_role("button", name="Remove Waits for an answer").click()
    expect(page.get_by_role("link", name="orders")).to_have_count(1)
    expect(page.get_by_role("button", name="Remove customer.id is globex")).to_be_visible()

    # Flows are read when the field opens as well.
    assert "flowRequestsQuery" not in read
    field(page, "Flows").fill("ord")
    page.get_by_role("option", name="orders").click()
    expect(page).to_have_url(re.compile(f"flowIds={service.flows['orders']}"))


def test_view_is_saved_applied_replaced_renamed_and_deleted(
    page: Page, browser: Browser, service: Service, orders: tuple[str, str]
) -> None:
    views = page.get_by_role("navigation", name="Saved views")
    actions = page.get_by_role("button", name="Views", exact=True)
    page.goto(f"{service.url}/?tags=of-orders&orderBy=LONGEST")
    actions.click()
    page.get_by_role("menuitem", name="Save as a new view…").click()
    page.get_by_role("textbox", name="Name of the view").fill("Orders")
    page.get_by_role("checkbox", name=re.compile("^Shared")).check()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(views.get_by_role("link", name="Orders")).to_have_attribute("aria-current", "page")

    page.get_by_role("group", name="Statuses").get_by_role("button", name="Failed").click()
    expect(views.get_by_role("link", name="Orders")).to_contain_text("changed")
    actions.click()
    page.get_by_role("menuitem", name="Replace the filter of Orders…").click()
    page.get_by_role("button", name="Replace", exact=True).click()
    expect(views.get_by_role("link", name="Orders")).to_have_attribute("aria-current", "page")

    actions.click()
    page.get_by_role("menuitem", name="Rename or share Orders…").click()
    page.get_by_role("textbox", name="Name of the view").fill("Failed orders")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(views.get_by_role("link", name="Failed orders")).to_be_visible()

    with signed_in(browser, service, service.create_key("VIEWER")) as other:
        other.goto(service.url)
        other.get_by_role("navigation", name="Saved views").get_by_role("link", name="Failed orders").click()
        expect(other.get_by_role("heading", name="1 run", exact=True)).to_be_visible()
        view = held(other).pop("view")[0]
        assert {name: values for name, values in held(other).items() if name != "view"} == {
            "tags": ["of-orders"],
            "statuses": ["FAILED"],
            "orderBy": ["LONGEST"],
        }
        other.get_by_role("button", name="Views", exact=True).click()
        expect(other.get_by_role("menuitem")).to_have_text(["Open as query"])

    page.goto(f"{service.url}/?view={view}&tags=of-orders")
    actions.click()
    page.get_by_role("menuitem", name="Delete Failed orders…").click()
    question = page.get_by_role("dialog", name="Delete the view?")
    expect(question).to_contain_text("No run is deleted.")
    question.get_by_role("button", name="Delete", exact=True).click()
    expect(views.get_by_role("link")).to_have_text(["All runs"])
    assert held(page) == {"tags": ["of-orders"]}


def test_good_and_bad_run_are_compared(page: Page, service: Service, orders: tuple[str, str]) -> None:
    good, bad = orders
    page.goto(f"{service.url}/runs/{bad}")
    page.get_by_role("button", name="Compare with…").click()
    page.get_by_role("link", name="Last successful run").click()
    expect(page).to_have_url(re.compile(f"/compare\\?left={good}&right={bad}$"))
    facts = page.get_by_role("region", name="Runs").get_by_role("row")
    expect(facts.filter(has_text="Status")).to_contain_text("SucceededFaileddiffers")
    expect(facts.filter(has_text="Version")).not_to_contain_text("differs")
    steps = page.get_by_role("region", name="Steps")
    expect(steps).to_contain_text("2 of 2 differ")
    expect(steps.get_by_role("group", name="Differences of step share")).to_contain_text("Division by zero")
    steps.get_by_role("button", name="price").press("Enter")
    of_price = steps.get_by_role("group", name="Differences of step price")
    expect(of_price.get_by_role("table", name="Differences of input")).to_contain_text("/total3040")
    documents = page.get_by_role("region", name="Documents")
    expect(documents.get_by_role("table", name="Differences of metadata")).to_contain_text("/customer/plan")
    assert "comparePageQuery" in (page.get_by_role("link", name="Open as query").get_attribute("href") or "")

    page.get_by_label("Right run").fill(NO_RUN)
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text(f"There is no run with this ID{NO_RUN}")
    page.goto(f"{service.url}/compare?left={good}&right=nonsense")
    expect(page.get_by_role("alert")).to_contain_text("nonsense")
    page.goto(f"{service.url}/compare")
    expect(page.get_by_text("Choose two runs")).to_be_visible()


def test_two_selected_runs_are_compared(page: Page, service: Service, orders: tuple[str, str]) -> None:
    page.goto(f"{service.url}/?tags=of-orders")
    boxes = page.get_by_role("checkbox", name="Select run of orders")
    selected = page.get_by_role("group", name="Selected runs")
    boxes.first.check()
    expect(selected.get_by_role("link", name="Compare")).to_have_count(0)
    boxes.last.check()
    selected.get_by_role("link", name="Compare").click()
    # The older one is on the left.
    expect(page).to_have_url(re.compile("left={}&right={}$".format(*orders)))
    expect(page.get_by_role("region", name="Steps")).to_be_visible()


def test_row_and_header_say_what_a_run_is_about_and_why_it_waits(
    page: Page, browser: Browser, service: Service, orders: tuple[str, str]
) -> None:
    waiting = service.pause("A-6", tags=["of-orders"])
    page.goto(f"{service.url}/?tags=of-orders")
    rows = page.get_by_role("table", name="Runs").get_by_role("row")
    expect(rows.filter(has_text="Division by zero")).to_contain_text("Order 8 of globex")
    expect(rows.filter(has_text="refund")).to_contain_text("waits for an answer")
    page.goto(f"{service.url}/runs/{orders[0]}")
    expect(page.get_by_text("Order 7 of acme")).to_be_visible()
    page.goto(f"{service.url}/runs/{waiting}")
    expect(page.get_by_text("waits for an answer")).to_be_visible()

    # A key without access to payloads has the same pages without what it may not see.
    blind = service.ask(
        'mutation { createApiKey(name: "blind", role: OPERATOR, payloads: false)'
        " { ... on CreateApiKeySuccess { secret } } }"
    )["createApiKey"]["secret"]
    with signed_in(browser, service, blind) as other:
        other.goto(f"{service.url}/?tags=of-orders")
        expect(other.get_by_role("link", name="orders")).to_have_count(2)
        expect(other.get_by_text("Order 8 of globex")).to_have_count(0)
        other.goto(f"{service.url}/compare?left={orders[0]}&right={orders[1]}")
        expect(other.get_by_role("region", name="Steps")).to_contain_text("1 of 2 differ")
        expect(other.get_by_role("table", name="Differences of metadata")).to_be_visible()
    service.ask("mutation ($id: ID!) { cancel(runId: $id) { __typename } }", id=waiting)


def test_time_range_is_brushed_and_moved(page: Page, service: Service, orders: tuple[str, str]) -> None:
    page.goto(f"{service.url}/?tags=of-orders")
    chart = page.get_by_role("img", name=re.compile("^Runs by the time of their creation: .*1 failed"))
    box = chart.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.7, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.999, middle, steps=4)
    page.mouse.up()
    expect(page).to_have_url(re.compile("createdAfter=.*createdBefore="))
    expect(page.get_by_role("link", name="orders")).to_have_count(2)
    brushed = held(page)
    moves = page.get_by_role("group", name="Range of time")
    moves.get_by_role("button", name="Earlier").press("Enter")
    expect(page.get_by_text("No run matches these filters")).to_be_visible()
    assert held(page)["createdBefore"][0][:19] == brushed["createdAfter"][0][:19]
    moves.get_by_role("button", name="Zoom out").press("Enter")
    moves.get_by_role("button", name="Zoom out").press("Enter")
    expect(page.get_by_role("link", name="orders")).to_have_count(2)


def test_failures_show_their_course_and_are_retried_together(page: Page, service: Service) -> None:
    for _ in range(2):
        service.run("flaky-checkout", tags=["together"])
    page.goto(f"{service.url}/?tags=together")
    page.get_by_role("link", name="Group the failures").click()
    expect(page).to_have_url(f"{service.url}/failures?tags=together")
    failure = page.get_by_role("table", name="Failures").get_by_role("row").filter(has_text="PROVIDER_DOWN")
    expect(failure).to_contain_text("flaky-checkout 2")
    expect(failure).to_contain_text("rising")
    expect(failure.get_by_role("img", name=re.compile("^Failures by time, most at .*: 2$"))).to_be_visible()
    failure.get_by_role("button", name=re.compile(r"^Retry all unrecovered \(2\)")).click()
    page.get_by_role("button", name="Dry run").click()
    expect(page.get_by_role("region", name="Dry run")).to_contain_text("2 eligible, 0 skipped")
    page.get_by_role("button", name="Retry 2 runs").click()
    expect(page.get_by_text("2 retried")).to_be_visible()

    page.goto(f"{service.url}/failures?tags=nothing-has-this")
    expect(page.get_by_text("No run failed that matches these filters")).to_be_visible()


def test_what_finds_and_compares_is_accessible_and_fits_a_narrow_screen(
    page: Page, service: Service, orders: tuple[str, str]
) -> None:
    on_sqlite = service.database_url.startswith("sqlite")
    # As in the test of all pages: what a page looks like does not depend on the database.
    looks = [(WIDE, "light" if on_sqlite else "dark"), (NARROW, "dark" if on_sqlite else "light")]

    def check(what: str) -> None:
        page.evaluate(AXE.read_text())
        for size, scheme in looks:
            page.set_viewport_size(size)
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, what
            violations = page.evaluate("axe.run().then((found) => found.violations)")
            said = [(it["id"], [node["html"][:160] for node in it["nodes"]][:3]) for it in violations]
            assert said == [], (what, size)

    page.goto(f"{service.url}/compare?left={orders[0]}&right={orders[1]}")
    expect(page.get_by_role("region", name="Documents")).to_be_visible()
    check("comparison")
    page.goto(f"{service.url}/?tags=of-orders")
    page.get_by_role("button", name="More filters").click()
    field(page, "Any of these tags").click()
    expect(page.get_by_role("option").first).to_be_visible()
    check("filters")
    page.goto(f"{service.url}/?tags=of-orders")
    page.get_by_role("button", name="Views", exact=True).click()
    page.get_by_role("menuitem", name="Save as a new view…").click()
    expect(page.get_by_role("textbox", name="Name of the view")).to_be_focused()
    check("dialog of a view")


def test_filter_can_be_changed_when_the_list_cannot_be_read(page: Page, service: Service) -> None:
    # Search is off, and the service says so.
    for path in ("/", "/failures"):
        page.goto(f"{service.url}{path}?search=lost-parcel&tags=nothing-has-this")
        expect(page.get_by_role("alert")).to_contain_text("This could not be loaded")
        page.get_by_role("button", name="Remove Text lost-parcel").click()
        expect(page.get_by_role("alert")).to_have_count(0)
        expect(page.get_by_text(re.compile("that matches these filters|No run matches these filters"))).to_be_visible()


def test_list_that_failed_is_read_again(page: Page, service: Service, orders: tuple[str, str]) -> None:
    refused: list[str] = []

    def refuse_once(route: Route) -> None:
        if operation(route.request) in ("runsPageQuery", "failuresTableQuery") and page.url not in refused:
            refused.append(page.url)
            route.fulfill(status=503, json={"errors": [{"message": "No database now."}]})
        else:
            route.continue_()

    page.route("**/graphql", refuse_once)
    for path in ("/", "/failures"):
        page.goto(f"{service.url}{path}?tags=of-orders")
        expect(page.get_by_role("alert")).to_contain_text("No database now.")
        page.get_by_role("button", name="Try again").click()
        expect(page.get_by_role("link", name=re.compile("^(orders|Division by zero)$")).first).to_be_visible()
    assert len(refused) == 2
