"""Conditions of steps: one expression, and a boolean or null as its result."""

import json
from typing import Any

import pytest

from domain import json_codec
from domain.errors import DefinitionInvalidError
from engine.compiled_flow import check
from engine.errors import StepError
from engine.templates import compile_condition
from tests.support.clock import FakeClock
from tests.support.worker import WorkerHarness, transform

INPUT: dict[str, Any] = {"yes": True, "no": False, "none": None, "text": "false", "zero": 0, "list": [], "env": "dev"}
SCOPE = {"run": {"input": INPUT}, "steps": {}}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (True, True),
        (False, False),
        ("{{ run.input.yes }}", True),
        ("{{ run.input.no }}", False),
        ("{{ run.input.none }}", False),
        ("run.input.yes", True),
        ("not run.input.yes", False),
        ("  {{ run.input.no }}\n", False),
        ("\n run.input.no ", False),
        ("{{- run.input.yes -}}", True),
        ("run.input.env == 'prod'", False),
        ("{{ run.input.env == 'dev' and not run.input.no }}", True),
        ("run.input.missing is defined", False),
        ("false", False),
        ("{'a': {'b': true}}.a.b", True),
    ],
)
def test_condition_holds_or_not(condition: bool | str, expected: bool) -> None:
    assert compile_condition(condition).render(SCOPE) is expected
    check({"steps": [transform("s", 1) | {"when": condition}]})


@pytest.mark.parametrize("name", ["text", "zero", "list", "env"])
def test_result_that_is_neither_boolean_nor_null_fails(name: str) -> None:
    with pytest.raises(StepError) as caught:
        compile_condition(f"{{{{ run.input.{name} }}}}").render(SCOPE)
    assert (caught.value.code, caught.value.retryable) == ("CONDITION_NOT_BOOLEAN", False)


@pytest.mark.parametrize(
    "condition",
    [
        "{{ run.input.env }} == 'prod'",
        "not {{ run.input.yes }}",
        "{{ run.input.yes }} {{ run.input.no }}",
        "{% if run.input.yes %}true{% endif %}",
        "yes",
        "x }} or {{ y",
        "run.input.yes }} text",
        "",
        "  ",
        "{{ }}",
        1,
        [],
    ],
)
def test_condition_that_is_not_one_expression_is_refused(condition: Any) -> None:
    with pytest.raises(DefinitionInvalidError) as caught:
        check({"steps": [transform("s", 1) | {"when": condition}]})
    assert [problem.path for problem in caught.value.problems] == ["steps[0].when"]


@pytest.mark.parametrize("condition", ["{{ run.input.env }} == 'prod'", "yes", ""])
def test_condition_of_an_older_version_fails_instead_of_running_the_step(condition: str) -> None:
    with pytest.raises(StepError) as caught:
        compile_condition(condition).render(SCOPE)
    assert caught.value.code == "CONDITION_NOT_BOOLEAN"


async def test_steps_are_skipped_run_or_failed(worker: WorkerHarness, fake_clock: FakeClock) -> None:
    flow = await worker.publish(
        transform("off", 1) | {"when": False},
        transform("bare", 1) | {"when": "run.input.env == 'prod'"},
        transform("spaced", 1) | {"when": " {{ run.input.none }}\n"},
        transform("on", 1) | {"when": "run.input.env == 'dev'"},
        transform("text", 1) | {"when": "{{ run.input.text }}", "continueOnFailure": True},
    )
    run_id = await worker.execute(flow, json.dumps(INPUT))
    assert await worker.statuses(run_id) == {
        "off": "SKIPPED",
        "bare": "SKIPPED",
        "spaced": "SKIPPED",
        "on": "SUCCEEDED",
        "text": "FAILED",
    }
    error = json_codec.decode((await worker.steps(run_id))[-1].error)
    assert error["code"] == "CONDITION_NOT_BOOLEAN"
