"""Answers by signed links: `createAnswerLink`, and the pages at `/answer/<token>`."""

import json
from contextlib import suppress
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import httpx
import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.runs.waits import input_requests
from domain import ids
from domain.access_token import TokenKeys
from domain.enums import RunStatus
from domain.errors import NumberOutOfRangeError
from domain.ids import IdKind
from domain.json_codec import MAX_INTEGER, MIN_INTEGER
from domain.runs import answer_link
from domain.time import clock
from resolvers.console.answer_links import REQUESTS_PER_MINUTE
from service.answers import page
from service.answers.form import MISSING, FieldKind, UnreadableValueError, root_field
from tests.support.app import TOKEN_KEY, App
from tests.support.clock import FakeClock
from tests.support.run_family import make_flow, make_runs

SCHEMA = {
    "type": "object",
    "properties": {
        "approved": {"type": "boolean", "title": "Approve the refund?"},
        "amount": {"type": "number", "minimum": 1, "default": 20},
        "reason": {"type": "string", "enum": ["fraud", "goodwill"], "description": "Why?"},
        "note": {"type": "string", "maxLength": 2000},
    },
    "required": ["approved"],
}
EVIL = '"><script>alert(1)</script>{{ 7 * 7 }}&<'
CREATE = """mutation($id: ID!, $expires: String! = "P1D", $for: String) {
    it: createAnswerLink(requestId: $id, expiresIn: $expires, recipient: $for) {
        __typename ... on CreateAnswerLinkSuccess { id path expiresAt } ... on UserError { code } } }"""
ANSWERED = """query($id: ID!) { node(id: $id) { ... on InputRequest {
    id status answer answeredBy { kind id name } } } }"""


class Page(HTMLParser):
    """The parts of a page that tests look at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, *names: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in names]


async def ask(app: App, schema: Any = SCHEMA, title: str = "Refund 20 EUR?", **values: Any) -> tuple[str, str]:
    """Makes a run that asks, and returns the IDs of the run and of its question."""
    published = await make_flow(app, f"flow {ids.new_uuid()}")
    (run,) = await make_runs(app, published, {"status": RunStatus.PAUSED, "due_at": None})
    request = {
        **{"id": ids.new_uuid(), "run_id": ids.decode(IdKind.RUN, run), "position": 0, "step_name": "ask"},
        **{"project_id": published.project_id, "flow_id": published.flow_id, "title": title},
        **{"answer_schema": json.dumps(schema), "created_at": clock.now(), **values},
    }
    await app.database.write(input_requests.create, request)
    return run, ids.encode(IdKind.INPUT_REQUEST, request["id"])


async def link(app: App, request_id: str, *, key: str | None = None, **more: Any) -> Any:
    return (await app.query(CREATE, {"id": request_id, **more}, key=key))["it"]


async def post(app: App, path: str, **fields: Any) -> httpx.Response:
    return await app.http.post(path, data=fields)


async def request_of(app: App, request_id: str) -> Any:
    return (await app.query(ANSWERED, {"id": request_id}))["node"]


async def test_a_person_without_a_key_answers_once(fake_clock: FakeClock, idle_app: App) -> None:
    _, asked = await ask(idle_app, description="Order 7\nof Ada")
    made = await link(idle_app, asked, **{"for": "ada@example.com"})
    for method in ("GET", "HEAD", "GET"):  # Previews and reloads answer nothing.
        response = await idle_app.http.request(method, made["path"])
        assert response.status_code == 200
    assert (await request_of(idle_app, asked))["status"] == "PENDING"
    shown = Page(response.text)
    assert "Refund 20 EUR?" in shown.text
    assert "Order 7\nof Ada" in shown.text
    # Every control has a label, every help text belongs to one, and groups have legends.
    controls = {each["id"] for each in shown.of("input", "textarea") if "id" in each}
    assert controls == {each["for"] for each in shown.of("label") if "for" in each}
    described = {
        each["aria-describedby"] for each in shown.of("input", "textarea", "fieldset") if "aria-describedby" in each
    }
    assert described == {each["id"] for each in shown.of("p") if "id" in each} == {"f_2-help"}
    assert len(shown.of("legend")) == len(shown.of("fieldset")) == 2
    assert {each["type"] for each in shown.of("input") if each["name"] == "f_0"} == {"radio"}
    (amount,) = [each for each in shown.of("input") if each["name"] == "f_1"]
    assert amount["value"] == "20"
    headers = response.headers
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'; style-src 'sha256-" in headers["content-security-policy"]
    assert shown.of("script", "link", "img", "iframe") == []
    refused = await post(idle_app, made["path"], f_0="0", f_1="0", f_3="a\r\nb")
    assert refused.status_code == 422
    assert "amount" in Page(refused.text).text
    assert 'value="0" checked' in refused.text  # What was entered remains.
    assert (await post(idle_app, made["path"], f_1="many")).status_code == 422
    assert (await request_of(idle_app, asked))["status"] == "PENDING"
    done = await post(idle_app, made["path"], f_0="0", f_1="5.5", f_2="1", f_3="a\r\nb")
    assert (done.status_code, "Thank you" in done.text) == (200, True)
    answered = {
        "id": asked,
        "status": "ANSWERED",
        "answer": {"approved": True, "amount": 5.5, "reason": "goodwill", "note": "a\nb"},
        "answeredBy": {"kind": "ANSWER_LINK", "id": made["id"], "name": "ada@example.com"},
    }
    assert await request_of(idle_app, asked) == answered
    for again in (
        await post(idle_app, made["path"], f_0="0", f_1="5.5", f_2="1", f_3="a\nb"),
        await post(idle_app, made["path"], f_0="1"),
        await idle_app.http.get(made["path"]),
    ):
        assert (again.status_code, "was answered" in again.text) == (410, True)
    assert await request_of(idle_app, asked) == answered
    nodes = await idle_app.query("{ auditEvents(first: 2) { nodes { action actor { kind name } objectId } } }")
    first, second = nodes["auditEvents"]["nodes"]
    assert (first["action"], first["actor"]) == ("RESUME_RUN", {"kind": "ANSWER_LINK", "name": "ada@example.com"})
    assert (second["action"], second["objectId"]) == ("CREATE_ANSWER_LINK", made["id"])
    assert (await link(idle_app, asked))["code"] == "INPUT_ALREADY_ANSWERED"


async def test_links_end_with_their_time_key_and_question(fake_clock: FakeClock, idle_app: App) -> None:
    _, asked = await ask(idle_app, expires_at=clock.now() + timedelta(hours=2))
    short = await link(idle_app, asked, expires="PT1H")
    text = """mutation { it: createApiKey(name: "bot", role: OPERATOR) { ... on CreateApiKeySuccess {
        secret apiKey { id } } } }"""
    bot = (await idle_app.query(text))["it"]
    of_bot = await link(idle_app, asked, key=bot["secret"])
    assert of_bot["expiresAt"] == "2026-01-01T02:00:00.000000Z"  # no longer than the question

    async def says(path: str) -> tuple[int, str]:
        shown, sent = await idle_app.http.get(path), await post(idle_app, path, f_0="0")
        assert (shown.status_code, shown.text) == (sent.status_code, sent.text)
        return sent.status_code, Page(sent.text).text

    content = answer_link.verified(TokenKeys([TOKEN_KEY]), token(short))
    assert content is not None
    foreign = answer_link.sign(TokenKeys(["x" * 40]), content)
    access = (
        """mutation { it: createAccessToken(filter: {tags: ["a"]}) { ... on CreateAccessTokenSuccess { token } } }"""
    )
    access_token = (await idle_app.query(access))["it"]["token"]
    for path in (f"/answer/{foreign}", f"/answer/{access_token}", f"{short['path']}x", "/answer/%00"):
        status, message = await says(path)
        assert (status, "not valid" in message) == (404, True)
    # A link is no key.
    assert (await idle_app.post("{ viewer { role } }", key=token(short))).status_code == 401
    await fake_clock.advance(3600)
    assert (await says(short["path"]))[1].count("link has expired") >= 1
    assert (await idle_app.http.get(of_bot["path"])).status_code == 200
    await idle_app.query("mutation($id: ID!) { revokeApiKey(id: $id) { __typename } }", {"id": bot["apiKey"]["id"]})
    assert (await says(of_bot["path"]))[0] == 404
    _, other = await ask(idle_app, expires_at=clock.now() + timedelta(minutes=1))
    late, ended = (await link(idle_app, other))["path"], await ask(idle_app)
    stopped = (await link(idle_app, ended[1]))["path"]
    await idle_app.query("mutation($id: ID!) { cancel(runId: $id) { __typename } }", {"id": ended[0]})
    assert "no answer any more" in (await says(stopped))[1]
    await fake_clock.advance(60)
    assert "question has expired" in (await says(late))[1]
    assert (await link(idle_app, other))["code"] == "INPUT_EXPIRED"


async def test_requests_with_a_link_are_limited(fake_clock: FakeClock, idle_app: App) -> None:
    _, asked = await ask(idle_app)
    path = (await link(idle_app, asked))["path"]
    for _ in range(REQUESTS_PER_MINUTE):
        assert (await idle_app.http.get(path)).status_code == 200
    for refused in (await idle_app.http.get(path), await post(idle_app, path, f0="true")):
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert "Nothing was sent" in refused.text
    await fake_clock.advance(1)
    assert (await idle_app.http.get(path)).status_code == 200


async def test_links_need_rights(idle_app: App) -> None:
    _, asked = await ask(idle_app)
    assert (await link(idle_app, asked, key=idle_app.keys.other_operator))["code"] == "INPUT_REQUEST_NOT_FOUND"
    text = """mutation { it: createApiKey(name: "blind", role: OPERATOR, payloads: false) {
        ... on CreateApiKeySuccess { secret } } }"""
    blind = (await idle_app.query(text))["it"]["secret"]
    assert await idle_app.error_code(CREATE, {"id": asked}, key=blind) == "FORBIDDEN"
    for values in ({"expires": "P31D"}, {"expires": "PT0S"}, {"for": ""}):
        assert await idle_app.error_code(CREATE, {"id": asked, **values}) == "INVALID_ARGUMENT"


async def test_titles_and_schemas_cannot_break_the_page(idle_app: App) -> None:
    members = {
        EVIL: {"type": "string", "title": EVIL, "description": EVIL, "default": EVIL},
        "choice": {"enum": [EVIL, None, 1], "default": EVIL},
        "both": {"type": "array", "items": {"enum": [EVIL]}},
        "long": {"type": "string", "maxLength": 900, "default": f"\n</textarea>{EVIL}"},
        "other": {"oneOf": [{"title": EVIL}], "description": EVIL},
    }
    _, asked = await ask(idle_app, {"type": "object", "properties": members}, EVIL, description=EVIL)
    path = (await link(idle_app, asked))["path"]
    for response in (await idle_app.http.get(path), await post(idle_app, path, f_0=EVIL, f_1="9", f_3=EVIL, f_4=EVIL)):
        shown = Page(response.text)
        assert shown.of("script") == []
        assert EVIL in shown.text
        assert "alert(1)" in response.text
        assert {tag for tag, _ in shown.tags} <= {
            *("html", "head", "meta", "title", "style", "body", "main", "h1", "p", "form", "fieldset", "legend"),
            *("label", "input", "textarea", "button", "div", "ul", "li"),
        }
    sent = await post(idle_app, path, f_0=EVIL, f_1=["0"], f_2=["0"], f_4='{"a": [1]}')
    assert sent.status_code == 200
    answer = (await request_of(idle_app, asked))["answer"]
    assert answer[EVIL] == EVIL
    assert (answer["choice"], answer["both"], answer["other"]) == (EVIL, [EVIL], {"a": [1]})


def token(made: Any) -> str:
    return str(made["path"].removeprefix("/answer/"))


@settings(max_examples=150, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers(MIN_INTEGER, MAX_INTEGER) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["type", "properties", "title", "items", "enum", "required", "const", "oneOf", "maxLength"])
        | st.text(max_size=3), inner | st.sampled_from(["object", "array", "string", "boolean"]), max_size=4),
    max_leaves=12))  # fmt: skip
def test_every_schema_has_a_form(schema: Any) -> None:
    root = root_field(schema)
    page.question("t", None, root, root.defaults(), [])
    with suppress(UnreadableValueError):
        root.read(root.defaults())


def test_values_are_read_as_their_types() -> None:
    schema = {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "count": {"type": "integer"},
            "inner": {"type": "object", "properties": {"x": {"type": "string"}}},
            "json": {},
        },
        "required": ["text"],
    }
    root = root_field(schema)
    assert root.read({}) == {"text": ""}
    assert root.read({"f_0": ["a"], "f_1": [" 7 "], "f_2_0": ["y"], "f_3": ["[null]"]}) == {
        "text": "a",
        "count": 7,
        "inner": {"x": "y"},
        "json": [None],
    }
    for form in ({"f_1": ["true"]}, {"f_1": ["1 2"]}, {"f_3": ["{"]}):
        with pytest.raises(UnreadableValueError):
            root.read(form)
    wide = {"type": "object", "properties": {str(number): {"type": "string"} for number in range(101)}}
    assert root_field(wide).kind is FieldKind.JSON
    assert root_field({"type": "boolean"}).read({"f": ["1"]}) is False
    assert root_field({"type": "boolean"}).read({}) is MISSING
    for text in ("2", "-1", "01", "²", "9" * 5000):
        with pytest.raises(UnreadableValueError):
            root_field({"type": "boolean"}).read({"f": [text]})
    assert root_field({"type": "integer"}).read({"f": [str(MAX_INTEGER)]}) == MAX_INTEGER
    for number in ({"type": "integer"}, {}):
        with pytest.raises(NumberOutOfRangeError):
            root_field(number).read({"f": [str(MAX_INTEGER + 1)]})
    assert not root_field({"type": "object", "properties": {"x": {}}, "required": True}).members["x"].required


@pytest.mark.parametrize("text_format", ["date-time", "time", "duration"])
def test_help_has_an_example_of_the_format(text_format: str) -> None:
    schema = {"type": "string", "format": text_format, "description": "When?"}
    text = root_field(schema).help
    assert text is not None
    assert text.startswith("When? ")
    for example in text.removesuffix(".").partition("such as ")[2].split(" or "):
        assert list(jsonschema_rs.validator_for(schema, validate_formats=True).iter_errors(example)) == []
