"""Templates are stopped at their limits of time and memory."""

import tracemalloc
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from engine.errors import StepError
from engine.templates import compile_value, meter
from engine.templates.meter import MAX_STEPS, MAX_WEIGHT
from tests.engine.template_scope import MIB, failure, render

pytestmark = pytest.mark.usefixtures("without_time_limit")

HUGE = {
    "run": {
        "id": "run_1",
        "input": {
            "x": "x" * (MIB - 10),
            "words": "a " * (MIB // 2 - 10),
            "lines": "\n" * (MIB - 10),
            "records": [{"name": f"n{index}", "value": index} for index in range(30_000)],
            "numbers": list(range(100_000)),
        },
        "metadata": {},
    },
    "steps": {f"s{index}": {"status": "SUCCEEDED", "output": ["y" * 1_000] * 1_000} for index in range(20)},
}


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(10**6) %}{% for b in range(10**6) %}{% for c in range(10**6) %}{% endfor %}{% endfor %}"
        "{% endfor %}",
        "{% for a in range(999) %}{% for b in range(999) %}{% for c in range(9) %}{% endfor %}{% endfor %}{% endfor %}",
        "{% for a in run.input.numbers %}{% for b in run.input.numbers %}{% endfor %}{% endfor %}",
        "{{ range(10**18) }}",
        "{{ range(-10**18, 10**19) }}",
        "{% set a = 'xx' %}" + "{% set a = a ~ a %}" * 60 + "{{ a }}",
        "{% set a = [1, 1] %}" + "{% set a = [a, a] %}" * 60 + "{{ a == a }}",
        "{% set a = {'k': 1} %}" + "{% set a = {'k': a, 'l': a} %}" * 60 + "{{ a }}",
        "{% for a in [[1, 1]] %}" + "{% for a in [[a, a]] %}" * 17 + "{{ a | tojson }}" + "{% endfor %}" * 18,
        "{% set a = run.input.x ~ '' %}" * 40,
        "{{ 'a' * 10**9 }}",
        "{{ 10**9 * 'a' }}",
        "{{ [1] * 10**9 }}",
        "{{ [[]] * 10**9 }}",
        "{{ ('%999d' * 5000) | format(" + ", ".join(["1"] * 1_500) + ") }}",
        "{{ '%' * 100000 | format(1) }}{{ ('%%' * 100000) | format }}",
        "{{ run.input.x | center(10**9) }}",
        "{{ run.input.lines | indent(1000) }}",
        "{{ run.input.lines.split('\\n') }}",
        "{{ run.input.words.split() }}",
        "{{ run.input.x.replace('x', run.input.x) }}",
        "{{ run.input.x.replace('', 'yy') }}",
        "{{ run.input.x | replace('x', 'yyyy') }}",
        "{{ run.input.x | list }}",
        "{{ run.input.x | urlencode }}",
        "{{ run.input.numbers | join(run.input.x) }}",
        "{{ [run.input.x] * 3 }}",
        "{{ [run.input.x, run.input.x] }}",
        "{{ run.input.x ~ run.input.x }}",
        "{{ run.input.x + run.input.x }}",
        "{{ run.input.x }}{{ run.input.x }}",
        "{{ steps }}",
        "{{ steps | tojson }}",
        "{{ steps.values() }}",
        "{% for n in range(9999) %}{{ run.input.x | upper | length }}{% endfor %}",
        "{% for n in range(9999) %}{{ run.input.x == run.input.x[1:] }}{% endfor %}",
        "{% for n in range(9999) %}{{ 'a' * 50 ~ 'b' ~ 'a' * 49 in run.input.x[:30000] }}{% endfor %}",
        "{% for n in range(9999) %}{{ run.input.records | sort(attribute='name') | length }}{% endfor %}",
        "{% for r in run.input.records %}{{ r.value in run.input.numbers }}{% endfor %}",
        "{% for n in run.input.numbers %}" + "{% if n %}{% endif %}" * 300 + "{% endfor %}",
        "{{ run.input.numbers | map('map', 'map', 'map', 'upper') }}",
        "{{ run.input.records" + " | map('tojson')" * 8 + " }}",
        ["{{ run.input.x }}"] * 500,
        ["{% for n in range(5000) %}{{ n }}{% endfor %}"] * 900,
    ],
)
def test_expensive_render_is_stopped(source: Any) -> None:
    template = compile_value(source)
    tracemalloc.start()
    try:
        with pytest.raises(StepError) as caught:
            template.render(HUGE)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.code in ("TEMPLATE_LIMIT", "TEMPLATE_ERROR")
    assert peak < 64 * MIB


def test_large_data_within_limits_renders() -> None:
    assert render("{{ run.input.x }}", HUGE) == HUGE["run"]["input"]["x"]  # type: ignore[index]
    assert len(render("{{ run.input.records }}", HUGE)) == 30_000
    assert render("{{ run.input.numbers | sum }}", HUGE) == sum(range(100_000))
    assert render("{% for name in steps %}{{ steps[name].status[0] }}{% endfor %}", HUGE) == "S" * 20
    assert len(render("{% for n in range(5000) %}{{ n }},{% endfor %}", HUGE)) > 20_000


def test_render_beyond_processor_time_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "MAX_CPU_SECONDS", 0.2)
    seconds = count(step=0.001)
    monkeypatch.setattr(meter, "time", SimpleNamespace(thread_time=lambda: next(seconds)))
    assert render("{% for n in range(10) %}{{ n }}{% endfor %}") == "0123456789"
    error = failure("{% for n in range(500) %}{{ n }}{% endfor %}")
    assert error.code == "TEMPLATE_LIMIT"
    assert error.message == "The template takes more than 200 ms."


def test_limits_match_documentation() -> None:
    assert (MAX_STEPS, MAX_WEIGHT) == (200_000, MIB)
