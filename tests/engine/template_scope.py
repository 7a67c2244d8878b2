"""Renders templates over a scope of a run."""

from typing import Any

import pytest

from engine.errors import StepError
from engine.templates import compile_value

MIB = 1024 * 1024
RECORDS = [{"name": "a", "price": 2, "ok": True}, {"name": "b", "price": 3.5, "ok": False}]
SCOPE = {
    "run": {
        "id": "run_1",
        "input": {"id": "007", "n": 5, "list": [3, 1, 2], "records": RECORDS, "items": [1], "text": "Ünï", "no": None},
        "metadata": {"team": "blue"},
    },
    "steps": {"fetch": {"status": "SUCCEEDED", "output": {"body": {"total": 12}}}},
}


def render(value: Any, scope: dict[str, Any] = SCOPE) -> Any:
    return compile_value(value).render(scope)


def failure(value: Any, scope: dict[str, Any] = SCOPE) -> StepError:
    with pytest.raises(StepError) as caught:
        render(value, scope)
    assert not caught.value.retryable
    return caught.value
