"""The flow language with the step kinds of the product: validation, paths of problems, and JSON Schema."""

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.errors import DefinitionInvalidError
from domain.flows import json_schema
from domain.flows.definition import DAY, FlowDefinition, RetryPolicy, to_json_value
from engine.steps import KINDS
from engine.steps.http import HTTP_METHODS, HttpInput

JSON_SCHEMA = json_schema.compile_schema(dict(KINDS.language.json_schema()))


def parse(document: Any) -> FlowDefinition:
    return KINDS.language.parse(document)


def transform(name: str = "build", **more: Any) -> dict[str, Any]:
    return {"name": name, "kind": "transform", "input": None, **more}


def http(**fields: Any) -> dict[str, Any]:
    return {"name": "call", "kind": "http", "input": {"url": "https://example.com", **fields}}


def flow(*steps: Any, **more: Any) -> dict[str, Any]:
    return {"steps": list(steps) or [transform()], **more}


def problems_of(document: Any) -> dict[str, str]:
    """Returns the messages of all problems of an invalid document, by path."""
    with pytest.raises(DefinitionInvalidError) as caught:
        parse(document)
    problems = {problem.path: problem.message for problem in caught.value.problems}
    assert len(problems) == len(caught.value.problems)
    return problems


def test_a_small_definition_has_the_deproblems_of() -> None:
    parsed = parse(flow(http()))
    (step,) = parsed.steps
    assert step.input == HttpInput(url="https://example.com")
    assert (step.input.method, step.input.fail_on_status, step.input.follow_redirects) == ("GET", True, True)
    assert step.retry.attempts == 1
    assert (step.when, step.timeout, step.continue_on_failure, step.display_name) == (None, None, False, None)
    assert (parsed.input_schema, parsed.timeout, parsed.has_output) == (None, None, False)


def test_empty_retry_policy_means_three_attempts() -> None:
    assert parse(flow(transform(retry={}))).steps[0].retry == RetryPolicy(attempts=3)


def test_output_of_null_is_an_output() -> None:
    assert parse(flow(output=None)).has_output


def test_200_steps_are_valid_and_201_are_not() -> None:
    steps = [transform(f"s{number}") for number in range(201)]
    assert len(parse(flow(*steps[:200])).steps) == 200
    assert list(problems_of(flow(*steps))) == ["steps"]


def test_each_duplicate_name_is_a_problem() -> None:
    names = ["a", "b", "a", "A", "b", "a"]
    assert problems_of(flow(*map(transform, names))) == {
        "steps[2].name": "The name 'a' is already used by steps[0]",
        "steps[4].name": "The name 'b' is already used by steps[1]",
        "steps[5].name": "The name 'a' is already used by steps[0]",
    }


@pytest.mark.parametrize("name", ["a", "_", "Z9_", "a" * 63])
def test_valid_names(name: str) -> None:
    assert parse(flow(transform(name))).steps[0].name == name


@pytest.mark.parametrize("name", ["", "9a", "a b", "a-b", "a.b", "ä", "a" * 64, "a\n", "\na", "a\0", "\ud800", 1, None])
def test_invalid_names(name: Any) -> None:
    assert list(problems_of(flow(transform(name)))) == ["steps[0].name"]


INVALID: dict[str, tuple[Any, list[str]]] = {
    "not an object": ([], [""]),
    "text": ("{}", [""]),
    "null": (None, [""]),
    "an empty object": ({}, ["steps"]),
    "no steps": ({"steps": []}, ["steps"]),
    "steps not a list": ({"steps": {"a": transform()}}, ["steps"]),
    "an unknown key": (flow(description="x"), ["description"]),
    "a key in snake case": (flow(input_schema={}), ["input_schema"]),
    "a step that is not an object": (flow(transform(), "x"), ["steps[1]"]),
    "a step that is null": (flow(None), ["steps[0]"]),
    "a step without a kind": (flow({"name": "a", "input": 1}), ["steps[0].kind"]),
    "an unknown kind": (flow(transform(), transform("b") | {"kind": "no such"}), ["steps[1].kind"]),
    "a kind that is a number": (flow(transform() | {"kind": 1}), ["steps[0].kind"]),
    "a kind that is a list": (flow(transform() | {"kind": ["http"]}), ["steps[0].kind"]),
    "a step with nothing but a kind": (flow({"kind": "http"}), ["steps[0].name", "steps[0].input"]),
    "an unknown key in a step": (flow(transform(foreach=[])), ["steps[0].foreach"]),
    "a step's key in snake case": (flow(transform(display_name="x")), ["steps[0].display_name"]),
    "a long display name": (flow(transform(displayName="x" * 201)), ["steps[0].displayName"]),
    "a display name with a lone surrogate": (flow(transform(displayName="\ud800")), ["steps[0].displayName"]),
    "a long condition": (flow(transform(when="x" * 4_001)), ["steps[0].when"]),
    "a condition that is a number": (flow(transform(when=1)), ["steps[0].when"]),
    "a timeout of zero": (flow(transform(timeout=0)), ["steps[0].timeout"]),
    "a negative timeout": (flow(transform(timeout=-1)), ["steps[0].timeout"]),
    "a timeout of more than 30 days": (flow(transform(timeout=30 * DAY + 1)), ["steps[0].timeout"]),
    "an infinite timeout": (flow(transform(timeout=math.inf)), ["steps[0].timeout"]),
    "a timeout of NaN": (flow(transform(timeout=math.nan)), ["steps[0].timeout"]),
    "a timeout as text": (flow(transform(timeout="5")), ["steps[0].timeout"]),
    "a timeout as a boolean": (flow(transform(timeout=True)), ["steps[0].timeout"]),
    "the flow's timeout as text": (flow(timeout="5"), ["timeout"]),
    "a flag as text": (flow(transform(continueOnFailure="yes")), ["steps[0].continueOnFailure"]),
    "a flag as a number": (flow(transform(continueOnFailure=1)), ["steps[0].continueOnFailure"]),
    "retry as a number": (flow(transform(retry=3)), ["steps[0].retry"]),
    "retry as null": (flow(transform(retry=None)), ["steps[0].retry"]),
    "an unknown key in retry": (flow(transform(retry={"tries": 2})), ["steps[0].retry.tries"]),
    "no attempts": (flow(transform(retry={"attempts": 0})), ["steps[0].retry.attempts"]),
    "too many attempts": (flow(transform(retry={"attempts": 51})), ["steps[0].retry.attempts"]),
    "a fraction of an attempt": (flow(transform(retry={"attempts": 1.5})), ["steps[0].retry.attempts"]),
    "every bound of retry exceeded": (
        flow(transform(retry={"delay": -1, "factor": 0.5, "maxDelay": DAY + 1, "jitter": 1.1})),
        [f"steps[0].retry.{name}" for name in ("delay", "factor", "maxDelay", "jitter")],
    ),
    "a request without a URL": (flow(http() | {"input": {}}), ["steps[0].input.url"]),
    "an input that is not an object": (flow(http() | {"input": "https://example.com"}), ["steps[0].input"]),
    "an empty URL": (flow(http(url="")), ["steps[0].input.url"]),
    "a long URL": (flow(http(url="x" * 8_001)), ["steps[0].input.url"]),
    "a method in lower case": (flow(http(method="get")), ["steps[0].input.method"]),
    "an unknown method": (flow(http(method="TRACE")), ["steps[0].input.method"]),
    "a header that is a number": (flow(http(headers={"X-Count": 1})), ["steps[0].input.headers.X-Count"]),
    "headers as a list": (flow(http(headers=[])), ["steps[0].input.headers"]),
    "a query as text": (flow(http(query="a=1")), ["steps[0].input.query"]),
    "a body that is not text": (flow(http(body={})), ["steps[0].input.body"]),
    "an unknown key in a request": (flow(http(cookies={})), ["steps[0].input.cookies"]),
    "the JSON body in snake case": (flow(http(json_body=1)), ["steps[0].input.json_body"]),
    "a python step without an action": (flow({"name": "a", "kind": "python", "input": {}}), ["steps[0].input.action"]),
    "an empty action": (flow({"name": "a", "kind": "python", "input": {"action": ""}}), ["steps[0].input.action"]),
    "a long action": (flow({"name": "a", "kind": "python", "input": {"action": "x" * 201}}), ["steps[0].input.action"]),
    "arguments as a list": (
        flow({"name": "a", "kind": "python", "input": {"action": "x", "args": [1]}}),
        ["steps[0].input.args"],
    ),
    "a transform without an input": (flow({"name": "a", "kind": "transform"}), ["steps[0].input"]),
    "a schema that is not an object": (flow(inputSchema=True), ["inputSchema"]),
    "a schema with an unknown type": (flow(inputSchema={"type": "strin"}), ["inputSchema"]),
    "a schema with a broken pattern": (flow(inputSchema={"pattern": "("}), ["inputSchema"]),
    "a schema with a dangling reference": (flow(inputSchema={"$ref": "#/$defs/gone"}), ["inputSchema"]),
    "a schema with a remote reference": (flow(inputSchema={"$ref": "https://example.com/s"}), ["inputSchema"]),
    "problems in several places": (
        flow(transform("a b"), http(url=""), transform("c", timeout=0), timeout=-1),
        ["steps[0].name", "steps[1].input.url", "steps[2].timeout", "timeout"],
    ),
    "a duplicate name and an invalid schema": (
        flow(transform(), transform(), inputSchema={"type": 1}),
        ["steps[1].name", "inputSchema"],
    ),
}


@pytest.mark.parametrize(("document", "paths"), list(INVALID.values()), ids=list(INVALID))
def test_each_problem_has_its_path(document: Any, paths: list[str]) -> None:
    problems = problems_of(document)
    assert list(problems) == paths
    assert all(problems.values())


def test_problem_says_what_is_expected() -> None:
    assert problems_of(flow(transform() | {"kind": "no such"}))["steps[0].kind"].endswith("'humanInput', 'flow'")
    assert problems_of(flow(transform(timeout=3e6)))["steps[0].timeout"].endswith("less than or equal to 2592000")
    assert problems_of(flow(inputSchema={"type": "x"}))["inputSchema"].startswith("Not a JSON Schema: ")


@pytest.mark.parametrize("timeout", [0.001, 5, 5.0, 30 * DAY])
def test_timeouts_may_be_integers_or_fractions(timeout: float) -> None:
    assert parse(flow(transform(timeout=timeout))).steps[0].timeout == timeout


def test_templates_are_listed_with_their_paths() -> None:
    parsed = parse(flow(transform("a", when="{{ x }}", input=[1]), http(json={"n": None}), output={"o": "{{ y }}"}))
    assert dict(parsed.templates()) == {
        "steps[0].idempotencyKey": None,
        "steps[0].input": [1],
        "steps[1].idempotencyKey": None,
        "steps[1].input": {"url": "https://example.com", "json": {"n": None}},
        "output": {"o": "{{ y }}"},
    }


def test_input_is_rendered_as_the_author_wrote_it() -> None:
    written = {"url": "x", "json": None, "failOnStatus": False}
    step = parse(flow(http(**written))).steps[0]
    assert to_json_value(step.input) == written


def test_definition_is_immutable() -> None:
    step = parse(flow()).steps[0]
    with pytest.raises(ValueError, match="frozen"):
        step.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("attempt", "delay"), [(1, 1.0), (2, 2.0), (3, 4.0), (9, 256.0), (10, 300.0), (50, 300.0)], ids=str
)
def test_delays_grow_up_to_the_maximum(attempt: int, delay: float) -> None:
    assert RetryPolicy().delay_after(attempt, random_share=0) == delay


def test_jitter_shortens_a_delay_by_a_random_share() -> None:
    policy = RetryPolicy(delay=10, jitter=0.2)
    assert policy.delay_after(1, random_share=0.5) == pytest.approx(9)
    assert policy.delay_after(1, random_share=1 - 1e-9) == pytest.approx(8)
    assert RetryPolicy(delay=10, jitter=0).delay_after(1, random_share=0.9) == 10


@pytest.mark.parametrize("factor", [1, 10])
def test_delay_of_the_last_attempt_does_not_overflow(factor: float) -> None:
    policy = RetryPolicy.model_validate({"factor": factor, "delay": DAY, "maxDelay": DAY, "attempts": 50})
    assert policy.delay_after(50, random_share=0) == DAY


# The JSON Schema of the language, for editors and for clients that validate before they publish.

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
NAMES = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,62}\Z")
SECONDS = st.integers(1, 1_000) | st.floats(0.001, 30 * DAY)
RETRY = st.fixed_dictionaries(
    {},
    optional={
        "attempts": st.integers(1, 50),
        "delay": st.floats(0, DAY),
        "factor": st.floats(1, 10),
        "maxDelay": st.floats(0, DAY),
        "jitter": st.floats(0, 1),
    },
)
SHARED = {
    "displayName": st.none() | TEXT,
    "when": st.none() | TEXT,
    "retry": RETRY,
    "timeout": st.none() | SECONDS,
    "continueOnFailure": st.booleans(),
}
HTTP_INPUT = st.fixed_dictionaries(
    {"url": st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)},
    optional={
        "method": st.sampled_from(HTTP_METHODS),
        "headers": st.dictionaries(TEXT, TEXT, max_size=3),
        "query": st.dictionaries(TEXT, ANY, max_size=3),
        "json": ANY,
        "body": st.none() | TEXT,
        "failOnStatus": st.booleans(),
        "followRedirects": st.booleans(),
    },
)
PYTHON_INPUT = st.fixed_dictionaries(
    {"action": st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)},
    optional={"args": st.dictionaries(TEXT, ANY, max_size=3)},
)


def step_of(kind: str, step_input: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"name": NAMES, "kind": st.just(kind), "input": step_input}, optional=SHARED)


STEPS = step_of("http", HTTP_INPUT) | step_of("python", PYTHON_INPUT) | step_of("transform", ANY)
SCHEMAS = st.sampled_from([None, {}, {"type": "object", "required": ["a"]}, {"$ref": "#/$defs/x", "$defs": {"x": {}}}])
DEFINITIONS = st.fixed_dictionaries(
    {"steps": st.lists(STEPS, min_size=1, max_size=4, unique_by=lambda step: step["name"])},
    optional={"inputSchema": SCHEMAS, "timeout": st.none() | SECONDS, "output": ANY},
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(DEFINITIONS)
def test_valid_definitions_match_the_json_schema(document: dict[str, Any]) -> None:
    parsed = parse(document)
    assert json_schema.problems(JSON_SCHEMA, document) == []
    assert [step.name for step in parsed.steps] == [step["name"] for step in document["steps"]]
    assert [to_json_value(step.input) for step in parsed.steps] == [step["input"] for step in document["steps"]]


NOT_IN_JSON_SCHEMA = {
    "a schema with an unknown type",
    "a schema with a broken pattern",
    "a schema with a dangling reference",
    "a schema with a remote reference",
    "a duplicate name and an invalid schema",
    "an infinite timeout",
    "a timeout of NaN",
    "a display name with a lone surrogate",
}


@pytest.mark.parametrize("problem", [name for name in INVALID if name not in NOT_IN_JSON_SCHEMA])
def test_invalid_definitions_do_not_match_the_json_schema(problem: str) -> None:
    document, _ = INVALID[problem]
    assert json_schema.problems(JSON_SCHEMA, document)


def test_json_schema_has_descriptions() -> None:
    schema = KINDS.language.json_schema()
    assert schema["$defs"]["HttpStep"]["description"].startswith("Calls a URL.")
    assert schema["$defs"]["TransformStep"]["properties"]["name"]["description"].startswith("Unique in the flow")
    assert schema["properties"]["steps"]["maxItems"] == 200


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}, {"a": [1, {"b": None}]}], ids=repr)
def test_input_of_a_transform_may_be_any_json(value: Any) -> None:
    step = parse(flow(transform(input=value))).steps[0]
    assert step.kind == "transform"
    assert step.input == value
