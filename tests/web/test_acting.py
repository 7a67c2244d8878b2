"""Answering questions and acting on runs in the console, in a real browser on both databases."""

import re
import time
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.app import PATIENCE
from tests.web.console import NARROW, PATIENCE_MS, REFUND, WIDE, Service, assert_accessible, live, page_of, sign_in

QUESTION = {
    "steps": [
        {
            "name": "ask",
            "kind": "humanInput",
            "input": {
                "title": "Which {{ run.input.what }}?",
                "description": "A question\nof two lines.",
                "assignee": "{{ run.input.who }}",
                "schema": {
                    "type": "object",
                    "required": ["size", "gift"],
                    "properties": {
                        "size": {"type": "string", "enum": ["small", "large"], "title": "Size"},
                        "gift": {"type": "boolean", "title": "A gift?"},
                        "count": {"type": "integer", "title": "Count", "default": 1},
                        "note": {"type": "string", "title": "Note", "maxLength": 500},
                    },
                },
            },
        }
    ]
}
LOOP = {
    "steps": [
        {"name": "read", "kind": "transform", "input": {"orders": [1, 2, 3]}},
        {
            "name": "ship",
            "kind": "flow",
            "input": {
                "flow": "ship one",
                "forEach": "{{ steps.read.output.orders }}",
                "input": {"order": "{{ item }}"},
                "onItemFailure": "WAIT",
            },
        },
    ]
}
SHIP_ONE = {"steps": [{"name": "send", "kind": "transform", "input": "{{ 6 // (run.input.order - 2) }}"}]}
REQUESTS = """query ($runs: [ID!]) { inputRequests(filter: {runIds: $runs}) { nodes {
    id status answer answeredBy { kind name } } } }"""


# As long as the service: a process may come back to this file after others.
@pytest.fixture(scope="package")
def flows(service: Service) -> Service:
    """The service with the flows of these tests."""
    for name, definition in (("question", QUESTION), ("ship one", SHIP_ONE), ("loop", LOOP)):
        service.create_flow(name, definition)
    service.create_flow(
        "parent", {"steps": [{"name": "call", "kind": "flow", "input": {"flow": "ship one", "input": {"order": 3}}}]}
    )
    return service


def ask(service: Service, what: str, who: str = "ops", **more: Any) -> tuple[str, str]:
    """Starts a run that asks a question; returns its ID and that of the question."""
    run_id = service.run("question", wait=False, input={"what": what, "who": who}, **more)
    until = time.monotonic() + PATIENCE
    while not (found := service.ask(REQUESTS, runs=[run_id])["inputRequests"]["nodes"]):
        assert time.monotonic() < until
        time.sleep(0.05)
    return run_id, found[0]["id"]


def question(page: Page, title: str) -> Any:
    return page.get_by_role("region", name=title, exact=True)


def pending(service: Service) -> int:
    found: int = service.ask("{ inputRequests(filter: {statuses: [PENDING]}, first: 0) { totalCount } }")[
        "inputRequests"
    ]["totalCount"]
    return found


def test_inbox_is_answered_by_keyboard_alone(page: Page, flows: Service) -> None:
    page.goto(f"{flows.url}/inbox?assignee=keys")
    live(page)
    expect(page.get_by_text("No question matches these filters")).to_be_visible()
    first, _ = ask(flows, "tea", "keys")
    second, _ = ask(flows, "cup", "keys")
    ask(flows, "hat", "others")
    # The list fills by itself; the navigation counts all questions.
    expect(page.get_by_role("status", name="Number of questions")).to_have_text("2 questions")
    inbox = page.get_by_role("navigation", name="Pages").get_by_role("link", name="Inbox")
    expect(inbox).to_contain_text(f"{pending(flows)} pending")

    page.get_by_role("link", name=re.compile("Which tea")).focus()
    page.keyboard.press("j")
    expect(page.get_by_role("link", name=re.compile("Which cup"))).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(question(page, "Which tea?")).to_contain_text("A question of two lines.")
    # The first field has the focus: choose, go on, send without the mouse.
    expect(page.get_by_role("combobox", name="Size")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.get_by_role("radiogroup", name="A gift?").get_by_label("Yes").focus()
    page.keyboard.press("Space")
    page.keyboard.press("Control+Enter")
    following = page.get_by_role("button", name="Next question")
    expect(page.get_by_role("status", name="Outcome")).to_contain_text("Answered by")
    expect(page.get_by_role("status", name="Number of questions")).to_have_text("1 question")
    expect(following).to_be_focused()
    page.keyboard.press("Enter")
    expect(question(page, "Which cup?")).to_be_visible()

    (answered,) = flows.ask(REQUESTS, runs=[first])["inputRequests"]["nodes"]
    assert (answered["status"], answered["answer"]["size"]) == ("ANSWERED", "small")
    # Somebody else is faster: what was asked, answered by whom and when replaces the form.
    (open_request,) = flows.ask(REQUESTS, runs=[second])["inputRequests"]["nodes"]
    flows.ask(
        "mutation ($r: ID!, $q: ID!, $a: JSON!) { resumeRun(runId: $r, requestId: $q, response: $a) { __typename } }",
        r=second,
        q=open_request["id"],
        a={"size": "large", "gift": False},
    )
    outcome = page.get_by_role("status", name="Outcome")
    expect(outcome).to_contain_text("with an API key")
    expect(outcome.get_by_label("Answer", exact=True)).to_contain_text("large")
    page.get_by_label("Status").select_option("Answered")
    expect(page.get_by_role("link", name=re.compile("Which tea.*answered by"))).to_be_visible()


def test_question_is_answered_by_a_person_without_a_key(page: Page, flows: Service, browser: Browser) -> None:
    run_id, request_id = ask(flows, "ring")
    page.goto(f"{flows.url}/inbox?request={request_id}")
    asked = question(page, "Which ring?")
    asked.get_by_text("Let a person without a key answer").click()
    asked.get_by_label("Name of the recipient").fill("ada@example.com")
    asked.get_by_role("button", name="Create an answer link").click()
    made = asked.get_by_role("status", name="Answer link")
    expect(made.get_by_role("button", name="Copy the answer link")).to_be_visible()
    url = (made.locator("code").text_content() or "").strip()

    # The page has no script, so the form works in a browser that runs none.
    with browser.new_context(viewport=NARROW, java_script_enabled=False) as context:
        person = context.new_page()
        person.set_default_timeout(PATIENCE_MS)
        person.goto(url)
        expect(person.get_by_role("heading", name="Which ring?")).to_be_visible()
        person.get_by_label("Count").fill("many")
        person.get_by_role("group", name="Size").get_by_label("large").check()
        person.get_by_role("group", name="A gift?").get_by_label("Yes").check()
        person.get_by_role("button", name="Send the answer").click()
        expect(person.get_by_role("alert")).to_contain_text("Count: this is not a number.")
        # What was entered remains.
        expect(person.get_by_role("group", name="Size").get_by_label("large")).to_be_checked()
        person.get_by_label("Count").fill("3")
        person.get_by_label("Count").press("Enter")
        expect(person.get_by_role("heading", name="Thank you")).to_be_visible()
        person.goto(url)
        expect(person.get_by_role("heading", name="This question was answered")).to_be_visible()

    outcome = page.get_by_role("status", name="Outcome")
    expect(outcome).to_contain_text("Answered by ada@example.com, by a link")
    (answered,) = flows.ask(REQUESTS, runs=[run_id])["inputRequests"]["nodes"]
    assert answered["answer"] == {"size": "large", "gift": True, "count": 3}


def test_answer_pages_are_accessible_and_fit_a_narrow_screen(page: Page, flows: Service) -> None:
    _, request_id = ask(flows, "x" * 120)
    link = flows.ask(
        "mutation ($id: ID!) { createAnswerLink(requestId: $id) { ... on CreateAnswerLinkSuccess { path } } }",
        id=request_id,
    )["createAnswerLink"]["path"]
    on_sqlite = flows.database_url.startswith("sqlite")
    looks = [(WIDE, "light" if on_sqlite else "dark"), (NARROW, "dark" if on_sqlite else "light")]

    def check(what: str) -> None:
        for size, scheme in looks:
            page.set_viewport_size(size)
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            assert_accessible(page, what)

    page.goto(flows.url + link)
    check("form")
    page.get_by_label("Count").fill("many")
    page.get_by_role("group", name="Size").get_by_label("small").check()
    page.get_by_role("group", name="A gift?").get_by_label("No").check()
    page.get_by_role("button", name="Send the answer").click()
    expect(page.get_by_role("alert")).to_be_visible()
    check("problems")
    page.goto(f"{flows.url}/answer/nothing")
    expect(page.get_by_role("heading", name="This link is not valid")).to_be_visible()
    check("message")


def test_viewer_reads_the_inbox_and_changes_nothing(browser: Browser, flows: Service) -> None:
    run_id, request_id = ask(flows, "door")
    failed = flows.run("flaky-checkout")
    with browser.new_context(viewport=WIDE) as context:
        sign_in(context, flows.url, flows.create_key("VIEWER"))
        with page_of(context, flows.url) as page:
            page.goto(f"{flows.url}/inbox?request={request_id}")
            expect(question(page, "Which door?")).to_contain_text("needs a key with the role operator")
            for name in ("Respond", "Create an answer link"):
                expect(page.get_by_role("button", name=name)).to_have_count(0)
            for run in (run_id, failed):
                page.goto(f"{flows.url}/runs/{run}")
                expect(page.get_by_role("region", name="Status history")).to_be_visible()
                for name in ("Retry", "Run again", "Edit", "Cancel", "Complete by hand", "Retry from this step"):
                    expect(page.get_by_role("button", name=name, exact=True)).to_have_count(0)
            page.goto(f"{flows.url}/operate?tab=holds")
            expect(page.get_by_role("region", name="Projects").get_by_role("row")).to_have_count(2)
            expect(page.get_by_role("button", name="Hold default")).to_have_count(0)


def test_retry_says_what_each_way_keeps_and_starts_at_a_chosen_step(page: Page, flows: Service) -> None:
    failed = flows.run("flaky-checkout")
    page.goto(f"{flows.url}/runs/{failed}")
    page.get_by_role("button", name="Retry", exact=True).click()
    page.get_by_role("menuitem", name=re.compile("Other ways")).click()
    dialog = page.get_by_role("dialog", name="Start from this run")
    expect(dialog.get_by_role("radio", name="Retry from the failed step", exact=True)).to_be_checked()
    ways = dialog.get_by_role("radiogroup", name="How")
    expect(ways).to_contain_text("Keeps cart")
    expect(ways.get_by_role("radio")).to_have_count(6)
    dialog.get_by_label("The chosen step", exact=True).select_option(index=0)
    dialog.get_by_role("radio", name="Retry from the chosen step").check()
    expect(ways).to_contain_text("Keeps no step. Executes cart")
    dialog.get_by_label("With another input").check()
    dialog.get_by_label("Input as JSON").fill("{")
    dialog.get_by_role("button", name="Start the run").click()
    expect(dialog.get_by_role("alert")).to_contain_text("JSON")
    dialog.get_by_label("Input as JSON").fill('{"again": true}')
    dialog.get_by_role("button", name="Start the run").click()
    expect(page.get_by_role("region", name="Lineage").get_by_text("Retry of")).to_be_visible()
    expect(page).not_to_have_url(re.compile(failed))

    # The second retry of the first run is refused, and says so; it can be forced.
    page.goto(f"{flows.url}/runs/{failed}")
    page.get_by_role("button", name="Retry", exact=True).click()
    page.get_by_role("menuitem", name=re.compile("Other ways")).click()
    expect(ways).to_contain_text("Not possible:")
    expect(dialog.get_by_role("button", name="Start the run")).to_be_disabled()
    dialog.get_by_label("Start it nevertheless").check()
    expect(dialog.get_by_role("button", name="Start the run")).to_be_enabled()


def test_only_failed_items_of_a_loop_run_again(page: Page, flows: Service) -> None:
    failed = flows.run("loop")
    page.goto(f"{flows.url}/runs/{failed}")
    page.get_by_role("button", name="Retry", exact=True).click()
    expect(page.get_by_role("menuitem", name=re.compile("^From the failed step(?!,)"))).to_contain_text("1 of 3")
    page.get_by_role("menuitem", name=re.compile("Other ways")).click()
    ways = page.get_by_role("radiogroup", name="How")
    expect(ways.get_by_role("radio", name="Retry only the failed items of the loop")).to_be_checked()
    expect(ways).to_contain_text("2 items of the loop")


def test_succeeded_run_runs_again(page: Page, flows: Service) -> None:
    done = flows.run("hello")
    page.goto(f"{flows.url}/runs/{done}")
    page.get_by_role("button", name="Run again").click()
    dialog = page.get_by_role("dialog", name="Start from this run")
    # Of each retry it says why it is refused.
    expect(dialog.get_by_role("radio", name="Retry from the failed step", exact=True)).to_be_disabled()
    dialog.get_by_role("button", name="Start the run").click()
    expect(page).not_to_have_url(re.compile(done))
    expect(page.get_by_role("region", name="Status history").get_by_text("Succeeded", exact=True)).to_be_visible()


def test_failed_step_is_completed_by_hand(page: Page, flows: Service) -> None:
    failed = flows.run("flaky-checkout")
    page.goto(f"{flows.url}/runs/{failed}")
    page.get_by_role("button", name="Complete by hand").click()
    dialog = page.get_by_role("dialog", name="Complete the step charge")
    expect(dialog).to_contain_text("Executes thanks")
    dialog.get_by_label("Output as JSON").fill('{"charged": 12}')
    dialog.get_by_label("Why").fill("Charged in the shop")
    dialog.get_by_role("button", name="Complete the step").click()
    expect(page).not_to_have_url(re.compile(failed))
    page.get_by_role("button", name=re.compile("Charge")).first.click()
    expect(page.get_by_text("Charged in the shop")).to_be_visible()


def test_tags_metadata_and_note_are_changed(page: Page, flows: Service) -> None:
    run_id = flows.run("hello", tags=["before"])
    page.goto(f"{flows.url}/runs/{run_id}")
    page.get_by_role("button", name="Edit", exact=True).click()
    dialog = page.get_by_role("dialog", name="Tags, metadata and note")
    dialog.get_by_role("combobox", name="Tags").fill("after")
    page.keyboard.press("Enter")
    dialog.get_by_label("Metadata as JSON").fill('{"customer": "acme"}')
    dialog.get_by_label("Note").fill("Looked at on Monday")
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_role("note", name="Note")).to_have_text("Looked at on Monday")
    expect(page.get_by_role("link", name="after", exact=True)).to_be_visible()
    query = "query ($id: ID!) { flowRun(id: $id) { tags metadata note } }"
    changed = flows.ask(query, id=run_id)["flowRun"]
    assert changed == {"tags": ["before", "after"], "metadata": {"customer": "acme"}, "note": "Looked at on Monday"}


def test_what_others_do_with_an_ended_run_is_shown(page: Page, flows: Service) -> None:
    run_id = flows.run("flaky-checkout")
    page.goto(f"{flows.url}/runs/{run_id}")
    expect(page.get_by_role("note", name="Error", exact=True)).to_be_visible()
    live(page)
    tagged = 'mutation ($id: ID!) { updateRun(runId: $id, addTags: ["looked at"]) { __typename } }'
    assert flows.ask(tagged, id=run_id)["updateRun"]["__typename"] == "UpdateRunSuccess"
    expect(page.get_by_role("link", name="looked at")).to_be_visible()
    archive = "mutation ($id: ID!) { bulkArchive(filter: {ids: [$id]}) { __typename } }"
    flows.ask(archive, id=run_id)
    expect(page.get_by_text("archived", exact=True)).to_be_visible()
    delete = "mutation ($id: ID!) { bulkDelete(filter: {ids: [$id]}, waitMs: 20000) { __typename } }"
    flows.ask(delete, id=run_id)
    expect(page.get_by_role("heading", name="There is no run with this ID")).to_be_visible()


def test_cancelling_says_first_what_it_ends(page: Page, flows: Service) -> None:
    run_id = flows.pause("A-9")
    page.goto(f"{flows.url}/runs/{run_id}")
    page.get_by_role("button", name="Cancel", exact=True).click()
    dialog = page.get_by_role("dialog", name="Cancel this run?")
    expect(dialog.get_by_role("list", name="What happens")).to_contain_text(
        f"The question “{REFUND['steps'][0]['input']['title']}” is withdrawn."  # type: ignore[index]
    )
    dialog.get_by_role("button", name="Cancel the run").click()
    expect(page.get_by_role("region", name="Status history").get_by_text("Stopped", exact=True)).to_be_visible()
    expect(dialog).to_have_count(0)


def test_run_is_erased_and_then_deleted(page: Page, flows: Service) -> None:
    run_id = flows.run("parent", input={"order": 2}, tags=["to be erased"])
    query = "query ($id: ID!) { flowRun(id: $id) { status input tags erasedAt } }"
    page.goto(f"{flows.url}/runs/{run_id}")
    expect(page.get_by_role("link", name="to be erased")).to_be_visible()
    page.get_by_role("button", name="Erase", exact=True).click()
    dialog = page.get_by_role("dialog", name="Erase this run?")
    expect(dialog.get_by_role("list", name="What goes")).to_contain_text(
        "1 child run, with the runs below, is erased too"
    )
    expect(dialog.get_by_role("list", name="What stays")).to_contain_text("with its IDs, status, times")
    assert_accessible(page, "erase")
    dialog.get_by_role("button", name="Erase the run").click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_text("erased", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="to be erased")).to_have_count(0)
    expect(page.get_by_text("The data of the steps were erased")).to_be_visible()
    expect(page.get_by_role("button", name="Erase", exact=True)).to_have_count(0)
    erased = flows.ask(query, id=run_id)["flowRun"]
    assert (erased["status"], erased["input"], erased["tags"]) == ("SUCCEEDED", {}, [])
    assert erased["erasedAt"]

    page.get_by_role("button", name="Delete", exact=True).click()
    dialog = page.get_by_role("dialog", name="Delete this run?")
    expect(dialog.get_by_role("list", name="What stays")).to_contain_text("The audit log")
    assert_accessible(page, "delete")
    dialog.get_by_role("button", name="Delete the run").click()
    expect(page.get_by_role("status").filter(has_text=f"The run {run_id} of parent was deleted.")).to_be_visible()
    expect(page).to_have_url(f"{flows.url}/")
    assert flows.ask(query, id=run_id)["flowRun"] is None


def test_run_whose_retry_is_live_is_not_deleted(page: Page, flows: Service) -> None:
    run_id, request_id = ask(flows, "rug")
    respond = """mutation ($run: ID!, $request: ID!) { it: resumeRun(runId: $run, requestId: $request,
        response: {size: "small", gift: false}) { __typename } }"""
    flows.ask(respond, run=run_id, request=request_id)
    page.goto(f"{flows.url}/runs/{run_id}")
    page.get_by_role("button", name="Delete", exact=True).click()
    rerun = flows.ask("mutation ($id: ID!) { it: rerun(runId: $id) { ... on RerunSuccess { run { id } } } }", id=run_id)
    dialog = page.get_by_role("dialog", name="Delete this run?")
    dialog.get_by_role("button", name="Delete the run").click()
    expect(dialog.get_by_role("alert")).to_have_text("Nothing was changed. A retry or rerun of it is live.")
    expect(page).to_have_url(re.compile(run_id))
    flows.ask("mutation ($id: ID!) { cancel(runId: $id) { __typename } }", id=rerun["it"]["run"]["id"])


def test_dialogs_and_inbox_are_accessible_and_fit_a_narrow_screen(page: Page, flows: Service) -> None:
    _, request_id = ask(flows, "coat")
    failed = flows.run("flaky-checkout")
    size, scheme = (NARROW, "light") if flows.database_url.startswith("sqlite") else (WIDE, "dark")
    page.set_viewport_size(size)
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    page.goto(f"{flows.url}/inbox?request={request_id}")
    asked = question(page, "Which coat?")
    expect(asked.get_by_role("button", name="Respond")).to_be_visible()
    asked.get_by_text("Let a person without a key answer").click()
    assert_accessible(page, "inbox")
    page.goto(f"{flows.url}/runs/{failed}")
    for button, text in (("Run again", "How"), ("Complete by hand", "Why"), ("Edit", "Tags")):
        page.get_by_role("button", name=button, exact=True).click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_text(text, exact=True).first).to_be_visible()
        assert_accessible(page, button)
        dialog.get_by_role("button", name="Close", exact=True).last.click()
        expect(dialog).to_have_count(0)
