"""Tests that settings which have no effect are refused at publication, and only there."""

import pytest

from domain import json_codec
from domain.errors import DefinitionInvalidError
from engine.compiled_flow import check, compile_flow


@pytest.mark.parametrize(("setting", "value"), [("concurrency", 2), ("onItemFailure", "CANCEL")])
def test_settings_of_waiting_loops_need_wait(setting: str, value: object) -> None:
    step_input = {"flow": "other", "forEach": [1, 2], "wait": False, setting: value}
    document = {"steps": [{"name": "loop", "kind": "flow", "input": step_input}]}
    with pytest.raises(DefinitionInvalidError) as refused:
        check(document)
    assert [problem.path for problem in refused.value.problems] == [f"steps[0].input.{setting}"]
    compile_flow(json_codec.encode(document, limit=1_000, what="definition"))
    check({"steps": [{"name": "loop", "kind": "flow", "input": {**step_input, "wait": True}}]})
