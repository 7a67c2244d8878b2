"""The console in a real browser, on both databases."""

import json
import re

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, WebSocketRoute, expect

from tests.support.processes.path_proxy import below_path
from tests.web.console import AXE, NARROW, WIDE, Service, live, page_of, sign_in


def test_failures_of_one_customer_are_found_and_the_address_holds_the_filter(page: Page, service: Service) -> None:
    found = service.run("flaky-checkout", metadata={"customer": {"id": "acme"}}, tags=["found"])
    service.run("flaky-checkout", metadata={"customer": {"id": "globex"}})
    service.run("hello", metadata={"customer": {"id": "acme"}})
    page.goto(service.url)
    page.get_by_role("group", name="Statuses").get_by_role("button", name="Failed").click()
    page.get_by_role("button", name="More filters").click()
    page.get_by_role("combobox", name="Metadata path").fill("customer.id")
    page.get_by_role("combobox", name="Metadata value").fill("acme")
    page.get_by_role("button", name="Add", exact=True).click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="flaky-checkout")).to_have_count(1)
    expect(page.get_by_role("heading", name="1 run", exact=True)).to_be_visible()

    page.goto(page.url)
    expect(page.get_by_role("link", name="flaky-checkout")).to_have_count(1)
    address = page.get_by_role("link", name="Open as query").last.get_attribute("href") or ""
    assert "customer.id" in address

    page.keyboard.press("/")
    expect(page.get_by_label("Error text or run ID")).to_be_focused()
    page.keyboard.insert_text(found)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(found))


def test_list_follows_runs_and_shows_why_a_row_leaves(page: Page, service: Service) -> None:
    page.goto(f"{service.url}/?statuses=PAUSED&tags=leaver")
    live(page)
    expect(page.get_by_text("No run matches these filters")).to_be_visible()
    run_id = service.pause("A-1", tags=["leaver"])
    expect(page.get_by_role("link", name="refund")).to_have_count(1)
    expect(page.get_by_role("button", name="1 Paused")).to_be_visible()

    service.ask("mutation ($id: ID!) { cancel(runId: $id) { __typename } }", id=run_id)
    expect(page.get_by_text("now stopped")).to_be_visible()
    expect(page.get_by_role("link", name="refund")).to_have_count(0)


def tab_to(page: Page, target: Locator, key: str = "Tab") -> None:
    """Moves the focus as people without a mouse do."""
    for _ in range(60):
        if target.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press(key)
    pytest.fail(f"{target} cannot be reached by {key}")


def test_going_back_leads_to_the_row_that_was_opened(page: Page, service: Service) -> None:
    for number in range(90):
        service.run("hello", wait=number == 89, tags=["many"], input={"name": str(number)})
    page.goto(f"{service.url}/?tags=many")
    table = page.get_by_role("table", name="Runs")
    table.get_by_role("link").first.focus()
    # Beyond the page of runs that a list begins with.
    for index in range(1, 75):
        page.keyboard.press("j")
        expect(table.locator(f'[data-index="{index}"] a')).to_be_focused()
    href = page.locator(":focus").get_attribute("href")
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Status history")).to_be_visible()
    page.go_back()
    row = table.locator(f'a[href="{href}"]')
    expect(row).to_be_in_viewport()
    expect(row).to_be_focused()
    delete = 'mutation { bulkDelete(filter: {tags: ["many"]}, waitMs: 20000) { __typename } }'
    assert service.ask(delete)["bulkDelete"]["__typename"] == "BulkDeleteSuccess"


def test_run_is_found_understood_and_retried_by_keyboard(page: Page, service: Service) -> None:
    service.run("flaky-checkout", tags=["keyboard"])
    service.run("hello", tags=["keyboard"])
    page.goto(f"{service.url}/?tags=keyboard")
    expect(page.get_by_role("link", name="hello")).to_have_count(1)
    page.keyboard.press("/")
    page.keyboard.type("payment provider")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="hello")).to_have_count(0)
    tab_to(page, page.get_by_role("link", name="flaky-checkout"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Step charge").get_by_text("PROVIDER_DOWN")).to_be_visible()
    expect(page.get_by_role("region", name="Log").get_by_text("Attempt 2 failed")).to_be_visible()
    expect(page.get_by_role("region", name="Steps")).to_contain_text("not reached")
    tab_to(page, page.get_by_role("button", name="Retry", exact=True))
    tab_to(page, page.get_by_role("button", name=re.compile("Read the cart")))
    page.keyboard.press("Enter")
    expect(page.get_by_label("Output", exact=True)).to_contain_text("Tea")

    tab_to(page, page.get_by_role("button", name="Retry", exact=True), "Shift+Tab")
    page.keyboard.press("Enter")
    choice = page.get_by_role("menuitem", name=re.compile("^From the failed step(?!,)"))
    expect(choice).to_contain_text("Keeps 2 steps")
    # The menu takes the focus a moment after it is shown.
    expect(page.get_by_role("menu").locator(":focus")).to_be_attached()
    page.keyboard.press("ArrowDown")
    expect(choice).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Lineage").get_by_text("Retry of")).to_be_visible()
    expect(page.get_by_label("Output", exact=True)).to_contain_text("Thank you!")


def test_question_is_answered_by_the_form_of_its_schema(page: Page, service: Service) -> None:
    run_id = service.pause("A-2")
    page.goto(f"{service.url}/runs/{run_id}")
    page.get_by_label("Comment").fill("fine")
    page.get_by_role("button", name="Respond").click()
    expect(page.get_by_role("region", name="Status history").get_by_text("Succeeded", exact=True)).to_be_visible()
    expect(page.get_by_label("Output", exact=True)).to_contain_text("fine")


def test_many_runs_are_archived_after_a_dry_run_and_the_archive_is_undone(page: Page, service: Service) -> None:
    for _ in range(3):
        service.run("hello", tags=["many"])
    waiting = service.pause("A-3", tags=["many"])
    page.goto(f"{service.url}/?tags=many")
    page.get_by_label("Select all matching runs").click()
    selected = page.get_by_role("group", name="Selected runs")
    expect(selected).to_contain_text("4 selected")
    selected.get_by_role("button", name="Archive", exact=True).click()
    page.get_by_role("button", name="Dry run").click()
    expect(page.get_by_role("region", name="Dry run")).to_contain_text("3 eligible, 1 skipped")
    expect(page.get_by_role("region", name="Dry run")).to_contain_text("run not final")
    page.get_by_role("button", name="Archive 3 runs").click()
    expect(page.get_by_text("3 archived")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("3 unarchived")).to_be_visible()
    service.ask("mutation ($id: ID!) { cancel(runId: $id) { __typename } }", id=waiting)


def test_flow_is_run_scheduled_called_and_published(page: Page, service: Service) -> None:
    page.goto(f"{service.url}/flows")
    page.get_by_role("link", name="refund").click()
    page.get_by_role("tab", name="Schedules").click()
    page.get_by_label("Cron expression").fill("0 6 * * 1-5")
    page.get_by_label("Input as JSON").fill('{"order": "daily"}')
    page.get_by_role("button", name="Add a schedule").click()
    expect(page.get_by_role("cell", name=re.compile("At 06:00, Monday through Friday"))).to_be_visible()
    page.get_by_role("tab", name="Webhooks").click()
    page.get_by_label("Name of the webhook").fill("Shop")
    page.get_by_role("button", name="Add a webhook").click()
    webhooks = page.get_by_role("region", name="Webhooks")
    expect(webhooks.get_by_role("alert")).to_contain_text("accepts no request as its input")
    webhooks.get_by_label("Input as JSON").fill('{"order": "{{ request.body.order }}"}')
    page.get_by_role("button", name="Add a webhook").click()
    command = page.get_by_text(f"curl -X POST {service.url}/hooks/")
    expect(command).to_be_visible()
    webhook_is_limited_rotated_and_deleted(page, webhooks, command)
    page.get_by_role("tab", name="Run now").click()
    page.get_by_label("Order").fill("A-4")
    page.get_by_role("button", name="Start a run").click()
    expect(page.get_by_role("region", name="Approve the refund?")).to_be_visible()

    page.goto(f"{service.url}/flows/{service.flows['hello']}")
    expect(page.get_by_role("region", name="Definition")).to_contain_text("greet")
    page.get_by_role("textbox", name="Definition as JSON").focus()
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.insert_text(json.dumps({"steps": [{"name": "greet", "kind": "nope", "input": 1}]}))
    # What the editor closed by itself.
    page.keyboard.press("ControlOrMeta+Shift+End")
    page.keyboard.press("Delete")
    page.get_by_role("button", name="Publish", exact=True).click()
    refused = page.get_by_role("alert", name="The definition was not published")
    expect(refused).to_contain_text("steps[0]")


def webhook_is_limited_rotated_and_deleted(page: Page, webhooks: Locator, command: Locator) -> None:
    limit = webhooks.get_by_role("spinbutton", name="Calls a minute: Shop")
    limit.fill("2000000")
    limit.press("Enter")
    expect(webhooks.get_by_text("must be between 1 and 1,000,000")).to_be_visible()
    limit.fill("60")
    webhooks.get_by_role("button", name="Save").click()
    expect(webhooks.get_by_role("button", name="Save")).to_be_hidden()
    page.reload()
    page.get_by_role("tab", name="Webhooks").click()
    expect(limit).to_have_value("60")
    webhooks.get_by_role("button", name="Rotate Shop").click()
    page.get_by_role("button", name="Rotate the token").click()
    expect(command).to_be_visible()
    webhooks.get_by_role("button", name="Delete Shop").click()
    page.get_by_role("button", name="Delete the webhook").click()
    expect(webhooks).to_contain_text("No webhook starts this flow")


def test_console_works_below_a_path(context: BrowserContext, service: Service) -> None:
    run_id = service.run("hello", tags=["below"])
    with below_path(service.url, "/tools/flowruns") as url, page_of(context, url) as page:
        sign_in(context, url, service.key)
        page.goto(f"{url}/?tags=below")
        live(page)
        page.get_by_role("link", name="hello").click()
        expect(page).to_have_url(f"{url}/runs/{run_id}")
        expect(page.get_by_role("link", name="As text")).to_have_attribute("href", f"/tools/flowruns/runs/{run_id}/log")
        page.goto(page.url)
        expect(page.get_by_role("heading", name="hello")).to_be_visible()
        page.goto(f"{url}/graphql")
        expect(page.get_by_role("region", name="Operation Editor")).to_contain_text("publishedVersion")
        page.get_by_role("button", name=re.compile("^Execute query")).click()
        expect(page.get_by_role("region", name="Result Window")).to_contain_text("flow_")


def test_failures_lead_to_their_runs(page: Page, service: Service) -> None:
    service.run("flaky-checkout")
    page.goto(f"{service.url}/failures")
    page.get_by_role("link", name="Unrecovered").first.click()
    expect(page.get_by_role("link", name="flaky-checkout").first).to_be_visible()
    assert "errorFingerprint" in page.url


def test_viewer_sees_no_button_that_refuses(browser: Browser, service: Service) -> None:
    run_id = service.run("flaky-checkout", tags=["viewed"])
    with browser.new_context(viewport=WIDE) as context:
        page = context.new_page()
        sign_in(context, service.url, service.create_key("VIEWER"))
        page.goto(f"{service.url}/runs/{run_id}")
        expect(page.get_by_role("heading", name="flaky-checkout")).to_be_visible()
        for name in ("Retry", "Archive", "Cancel", "Erase", "Delete"):
            expect(page.get_by_role("button", name=name, exact=True)).to_have_count(0)


def test_key_without_access_to_payloads_sees_everything_else(browser: Browser, service: Service) -> None:
    failed = service.run("flaky-checkout")
    paused = service.pause("A-6")
    with browser.new_context(viewport=WIDE) as context, page_of(context, service.url) as page:
        sign_in(context, service.url, service.create_key("OPERATOR", payloads=False))
        page.goto(f"{service.url}/runs/{failed}")
        expect(page.get_by_role("heading", name="flaky-checkout")).to_be_visible()
        expect(page.get_by_role("region", name="Step charge").get_by_text("PROVIDER_DOWN")).to_be_visible()
        expect(page.get_by_role("region", name="Step charge").get_by_text("need a key with access")).to_be_visible()
        expect(page.get_by_role("region", name="Status history").get_by_text("Failed", exact=True)).to_be_visible()
        expect(page.get_by_role("region", name="Log")).to_have_count(0)
        # The key is an operator's: only administrators remove runs.
        expect(page.get_by_role("button", name="Archive", exact=True)).to_have_count(1)
        for name in ("Erase", "Delete"):
            expect(page.get_by_role("button", name=name, exact=True)).to_have_count(0)

        page.goto(f"{service.url}/inbox")
        page.get_by_role("list", name="Questions").get_by_role("link", name=re.compile("approve")).first.click()
        expect(page.get_by_text("Questions and answers need a key with access to payloads.")).to_be_visible()
    service.ask("mutation ($id: ID!) { cancel(runId: $id) { __typename } }", id=paused)


def test_end_of_the_session_leads_to_the_sign_in_and_back(browser: Browser, service: Service) -> None:
    created = service.ask("""mutation { createApiKey(name: "until lunch", role: VIEWER) {
        ... on CreateApiKeySuccess { secret apiKey { id } } } }""")["createApiKey"]
    revoke = "mutation ($id: ID!) { revokeApiKey(id: $id) { __typename } }"
    with browser.new_context() as context:
        sign_in(context, service.url, created["secret"])
        with page_of(context, service.url) as one, page_of(context, service.url) as other:
            for page in (one, other):
                page.goto(f"{service.url}/failures")
                live(page)
            service.ask(revoke, id=created["apiKey"]["id"])
            expect(other.get_by_label("API key")).to_be_visible()
            one.get_by_label("API key").fill(service.key)
            one.get_by_role("button", name="Sign in").click()
            expect(one.get_by_role("heading", name="Failures")).to_be_visible()
            live(one)
            # The person comes back to the other tab.
            other.evaluate("dispatchEvent(new Event('focus'))")
            expect(other.get_by_role("heading", name="Failures")).to_be_visible()
            live(other)


def test_restart_of_the_service_under_load_is_shown_and_no_event_is_missed(page: Page, service: Service) -> None:
    page.goto(f"{service.url}/?tags=survivor")
    live(page)
    # Each run changes three times; about 200 changes a second come from runs that are started one after the other.
    for _ in range(80):
        service.run("hello", wait=False, tags=["survivor"])
    service.stop()
    live(page, "Disconnected")
    service.start()
    for _ in range(20):
        service.run("hello", wait=False, tags=["survivor"])
    expect(page.get_by_role("heading", name="100 runs", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="100 Succeeded")).to_be_visible()
    rows = page.get_by_role("table", name="Runs").get_by_role("row").filter(has=page.get_by_role("link", name="hello"))
    expect(rows.filter(has_text="Succeeded").first).to_be_visible()
    expect(rows.filter(has_not_text="Succeeded")).to_have_count(0)
    live(page)


def test_events_are_streamed_where_sockets_do_not_get_through(page: Page, service: Service) -> None:
    def refuse(socket: WebSocketRoute) -> None:
        socket.close(code=1011, reason="no sockets here")

    page.route_web_socket(re.compile("/graphql$"), refuse)
    page.goto(f"{service.url}/?tags=streamed")
    expect(page.get_by_title(re.compile("over event streams"))).to_be_visible()
    service.run("hello", tags=["streamed"])
    expect(page.get_by_role("link", name="hello")).to_have_count(1)


def test_pages_are_accessible_and_fit_a_narrow_screen(page: Page, service: Service) -> None:
    failed = service.run("flaky-checkout", tags=["checked"])
    paused = service.pause("A-5")
    archive = """mutation ($ids: [ID!]) { it: bulkArchive(filter: {ids: $ids}) { ... on BulkOperationSuccess {
        operation { id } } } }"""
    archived = service.ask(archive, ids=[service.run("hello")])["it"]["operation"]["id"]
    axe = AXE.read_text()
    pages = {
        "/": "Runs",
        f"/runs/{failed}": "flaky-checkout",
        f"/runs/{paused}": "refund",
        "/failures": "Failures",
        "/flows": "Flows",
        f"/flows/{service.flows['refund']}?tab=schedules": "refund",
        f"/flows/{service.flows['refund']}?tab=run": "refund",
        f"/flows/{service.flows['refund']}?tab=definition": "refund",
        "/bulk": "Bulk operations",
        f"/bulk/{archived}": "Archive 1 run",
    }
    # What a page looks like does not depend on the database, so each shows half of the looks.
    on_sqlite = service.database_url.startswith("sqlite")
    looks = [(WIDE, "light" if on_sqlite else "dark"), (NARROW, "dark" if on_sqlite else "light")]
    for path, heading in pages.items():
        page.goto(f"{service.url}{path}")
        page.evaluate(axe)
        for size, scheme in looks:
            page.set_viewport_size(size)
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
            expect(page.get_by_role("heading", name=heading, exact=True).first).to_be_attached()
            expect(page.locator("[aria-busy=true]")).to_have_count(0)
            overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert overflow <= 0, (path, overflow)
            violations = page.evaluate("axe.run().then((found) => found.violations)")
            said = [(it["id"], [node["html"][:160] for node in it["nodes"]][:3]) for it in violations]
            assert said == [], (path, size)
