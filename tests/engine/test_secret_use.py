"""Uses of secrets and of `redact` that are refused at publication."""

from typing import Any

import pytest

from domain.errors import DefinitionInvalidError
from engine.compiled_flow import check


@pytest.mark.parametrize(
    ("problem", "refused"),
    [
        ("when", {"kind": "transform", "input": 1, "when": "{{ secrets.A }}"}),
        ("idempotencyKey", {"kind": "python", "input": {"action": "a"}, "idempotencyKey": "{{ secrets.A }}"}),
        ("input", {"kind": "transform", "input": "{{ secrets.A }}"}),
        ("input.title", {"kind": "humanInput", "input": {"title": "{{ secrets.A }}"}}),
        ("input.action", {"kind": "python", "input": {"action": "{{ secrets.A }}"}}),
        ("input.flow", {"kind": "flow", "input": {"flow": "{{ secrets.A }}"}}),
        ("input.args.x", {"kind": "python", "input": {"action": "a", "args": {"x": "{{ secrets.A | upper }}"}}}),
        ("input.args.x", {"kind": "python", "input": {"action": "a", "args": {"x": "{{ secrets.A[:3] }}"}}}),
        ("input.args.x", {"kind": "python", "input": {"action": "a", "args": {"x": "{{ secrets }}"}}}),
        ("input.args.x", {"kind": "python", "input": {"action": "a", "args": {"x": "{{ 1 if secrets.A }}"}}}),
        (
            "input.args.x",
            {"kind": "python", "input": {"action": "a", "args": {"x": "{% set s = secrets.A %}{{ s }}"}}},
        ),
    ],
)
def test_use_of_secret_that_could_show_it_is_refused_at_publication(problem: str, refused: dict[str, Any]) -> None:
    with pytest.raises(DefinitionInvalidError) as error:
        check({"steps": [{"name": "a", **refused}]})
    assert [found.path for found in error.value.problems] == [f"steps[0].{problem}"]
    assert "ecret" in error.value.problems[0].message


def test_paths_that_cannot_be_redacted_are_refused() -> None:
    steps = [
        {"name": "a", "kind": "delay", "input": {"for": 1}, "redact": ["input.for"]},
        {"name": "b", "kind": "flow", "input": {"flow": "x"}, "redact": ["output.a", "input.input"]},
        {"name": "c", "kind": "transform", "input": 1, "redact": ["input", "output.x.*.y"]},
    ]
    with pytest.raises(DefinitionInvalidError) as error:
        check({"steps": steps})
    assert [problem.path for problem in error.value.problems] == ["steps[0].redact[0]", "steps[1].redact[1]"]
