"""`compareRuns`: in what two runs differ."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun
from db.models.types import table
from domain import ids
from domain.enums import StepStatus
from domain.ids import IdKind
from domain.runs.json_difference import differences
from tests.support import factory
from tests.support.app import App

RUNS = table(FlowRun)
VERSIONS = [
    {"steps": [{"name": name, "kind": "transform", "input": value} for name, value in steps], "output": output}
    for output, steps in ((1, [("a", "a"), ("b", "b"), ("old", "old")]), (2, [("new", "new"), ("a", "A")]))
]
COMPARISON = """query($a: ID!, $b: ID!) { compareRuns(a: $a, b: $b) {
    a { id } b { id } sameFlow sameVersion durationDifferenceMs
    input { hasMore differences { path kind a b } } few: input(first: 1) { hasMore differences { path } }
    output { differences { path } } metadata { differences { path a b } } definition { differences { path a b } }
    steps {
        name a { status } b { status } sameOutcome durationDifferenceMs
        definition { differences { path kind a b } } input { differences { path } } output { differences { path a b } }
    } } }"""
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.text("a~/", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab~/", max_size=2), inner, max_size=3),
    max_leaves=8,
)


async def make_two(app: App) -> tuple[str, str]:
    """Two runs of the versions of a flow: one succeeded, one failed at its second step."""
    flow_id = await app.create_flow(VERSIONS[0])
    good = (await app.start(flow_id, input={"n": 1, "items": [1, {"a/b": 2}], "gone": None}, metadata={"k": 1}))["run"]
    text = "mutation($f: ID!, $d: JSON!) { publishFlowVersion(flowId: $f, definition: $d) { __typename } }"
    await app.query(text, {"f": flow_id, "d": VERSIONS[1]})
    bad = (await app.start(flow_id, input={"n": True, "items": [1, {"a/b": 3}, 4]}, metadata={"k": 1}))["run"]

    first, second = (ids.decode(IdKind.RUN, run["id"]) for run in (good, bad))

    def work(uow: UnitOfWork) -> None:
        for key, duration_ms, output in ((first, 1_000, "[1]"), (second, 700, None)):
            values = {"duration_ms": duration_ms, "output": output}
            uow.conn.execute(update(RUNS).where(RUNS.c.id == key).values(values))
        done = {"status": StepStatus.SUCCEEDED, "duration_ms": 40, "output": '{"x": 1}'}
        broken = {"status": StepStatus.FAILED, "duration_ms": 90, "output": None}
        factory.make_steps(uow, first, [{**done, "name": "a"}, {**done, "name": "b"}])
        factory.make_steps(uow, second, [{**done, "name": "new"}, {**broken, "name": "a"}])

    await app.database.write(work)
    return good["id"], bad["id"]


async def test_runs_differ_by_path_and_steps_by_name(idle_app: App) -> None:
    good, bad = await make_two(idle_app)
    found = (await idle_app.query(COMPARISON, {"a": good, "b": bad}))["compareRuns"]
    assert (found["a"], found["b"]) == ({"id": good}, {"id": bad})
    assert (found["sameFlow"], found["sameVersion"], found["durationDifferenceMs"]) == (True, False, -300)
    assert found["input"] == {
        "hasMore": False,
        "differences": [
            {"path": "/n", "kind": "CHANGED", "a": 1, "b": True},
            {"path": "/items/1/a~1b", "kind": "CHANGED", "a": 2, "b": 3},
            {"path": "/items/2", "kind": "ADDED", "a": None, "b": 4},
            {"path": "/gone", "kind": "REMOVED", "a": None, "b": None},
        ],
    }
    assert found["few"] == {"hasMore": True, "differences": [{"path": "/n"}]}
    assert found["output"]["differences"] == [{"path": ""}]
    assert found["metadata"]["differences"] == []
    assert found["definition"]["differences"] == [{"path": "/output", "a": 1, "b": 2}]
    a, b, old, new = found["steps"]
    assert [each["name"] for each in found["steps"]] == ["a", "b", "old", "new"]
    assert (a["a"], a["b"], a["sameOutcome"]) == ({"status": "SUCCEEDED"}, {"status": "FAILED"}, False)
    assert a["durationDifferenceMs"] == 50
    assert a["definition"]["differences"] == [{"path": "/input", "kind": "CHANGED", "a": "a", "b": "A"}]
    assert a["output"]["differences"] == [{"path": "", "a": {"x": 1}, "b": None}]
    assert (b["b"], b["durationDifferenceMs"]) == (None, None)
    assert b["definition"]["differences"][0]["kind"] == "REMOVED"
    # No run reached the step: there is nothing that differs in its outcome.
    assert (old["a"], old["b"], old["sameOutcome"]) == (None, None, True)
    assert (new["a"], new["b"], new["sameOutcome"]) == (None, {"status": "SUCCEEDED"}, False)


async def test_only_visible_runs_and_values_are_compared(idle_app: App) -> None:
    good, bad = await make_two(idle_app)
    foreign = await idle_app.query(COMPARISON, {"a": good, "b": bad}, key=idle_app.keys.other_admin)
    assert foreign == {"compareRuns": None}
    text = """mutation { it: createApiKey(name: "blind", role: VIEWER, payloads: false) {
        ... on CreateApiKeySuccess { secret } } }"""
    key = (await idle_app.query(text))["it"]["secret"]
    for field in (
        "input { hasMore }",
        "output { hasMore }",
        "steps { input { hasMore } }",
        "steps { output { hasMore } }",
    ):
        text = f'{{ compareRuns(a: "{good}", b: "{bad}") {{ {field} }} }}'
        assert await idle_app.error_code(text, key=key) == "FORBIDDEN"
    text = f'{{ compareRuns(a: "{good}", b: "{bad}") {{ steps {{ name sameOutcome definition {{ hasMore }} }} }} }}'
    assert len((await idle_app.query(text, key=key))["compareRuns"]["steps"]) == 4


@settings(max_examples=200, deadline=None)
@given(VALUES, VALUES)
def test_differences_lead_from_one_document_to_the_other(a: Any, b: Any) -> None:
    found = list(differences(a, b))
    assert len({each.path for each in found}) == len(found)
    for document, side in ((a, "a"), (b, "b")):
        for each in found:
            absent = each.kind == ("ADDED" if side == "a" else "REMOVED")
            assert look_up(document, each.path) == (absent, getattr(each, side))
    assert (not found) == (typed(a) == typed(b))


def look_up(document: Any, pointer: str) -> tuple[bool, Any]:
    """Whether the document lacks the place, and its value there."""
    for part in pointer.split("/")[1:]:
        key: Any = part.replace("~1", "/").replace("~0", "~")
        if isinstance(document, list):
            key = int(key)
            if key >= len(document):
                return True, None
        elif key not in document:
            return True, None
        document = document[key]
    return False, document


def typed(value: Any) -> Any:
    """The value in a form in which 1 and True differ."""
    if isinstance(value, list):
        return [typed(each) for each in value]
    if isinstance(value, dict):
        return {key: typed(each) for key, each in value.items()}
    return type(value).__name__, value
