"""Tests of templates: their results, their errors and their sandbox."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import StepError
from engine.templates import TemplateCompileError, compile_problems, compile_value
from tests.engine.template_scope import SCOPE, failure, render

pytestmark = pytest.mark.usefixtures("without_time_limit")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("plain", "plain"),
        ("{# no template #}", "{# no template #}"),
        ("{{ run.input.list }}", [3, 1, 2]),
        ("{{ run.input.n }}", 5),
        ("{{ run.input.id }}", "007"),
        ("{{ '[1]' }}", "[1]"),
        ("{{ 1 }}", 1),
        ("{{ none }}", None),
        ("1{{ run.input.n }}", "15"),
        (" {{ run.input.n }}", 5),
        ("{{ run.input.n }}\n", 5),
        ("{{ 1 }}{{ 2 }}", "12"),
        ("{{ run.input.list }} {{ none }} {{ true }} {{ 1.5 }}", "[3,1,2] null true 1.5"),
        ("{{ run.input.items }}", [1]),
        ("{{ steps.fetch.output.body.total + run.input.n }}", 17),
        ("{{ steps['fetch'].status }}", "SUCCEEDED"),
        ("{{ run.input.list[0] }}{{ run.input.list[-1] }}", "32"),
        ("{{ run.input.list[1:] }}", [1, 2]),
        ("{{ run.input.text[::-1] }}", "ïnÜ"),
        ("{{ run.input.nope.deeper | default('none') }}", "none"),
        ("{{ run.input.nope is defined }}", False),
        ("{{ run.input.no is none and run.input.n is number }}", True),
        ("{{ (5 if false) | default(1) }}", 1),
        ("{{ 'yes' if run.input.n > 3 else 'no' }}", "yes"),
        ("{{ 1 < 2 < 3 and 3 not in [1, 2] }}", True),
        ("{{ 7 // 2 }}{{ 7 % 4 }}{{ 2 ** 3 }}{{ -(1 - 2) }}{{ +4 }}", "33814"),
        ("{{ 3 / 2 }}", 1.5),
        ("{{ 'ab' * 2 ~ 1 ~ [2] }}", "abab1[2]"),
        ("{{ [1] + [2] * 2 }}", [1, 2, 2]),
        ("{{ 'a' + 'b' }}", "ab"),
        ("{{ {'k': run.input.n, 'l': (1, 2)} }}", {"k": 5, "l": [1, 2]}),
        ("{{ 'a,b'.split(',') }}", ["a", "b"]),
        ("{{ ' x '.strip() ~ 'xyx'.strip('x') ~ 'A'.lower() }}", "xya"),
        ("{{ 'aXbX'.replace('X', '-', 1) }}", "a-bX"),
        ("{{ 'abab'.count('a') + [1, 1].count(1) + 'abc'.find('c') }}", 6),
        ("{{ 'abc'.startswith('a') and not 'abc'.endswith('a') }}", True),
        ("{{ run.metadata.get('x', 'y') }}", "y"),
        ("{{ run.metadata.keys() }}{{ run.metadata.values() }}", '["team"]["blue"]'),
        ("{% for k, v in run.metadata.items() %}{{ k }}={{ v }}{% endfor %}", "team=blue"),
        ("{% for r in run.input.records if r.ok %}{{ loop.index }}{{ r.name }}{% endfor %}", "1a"),
        ("{% for x in [] %}x{% else %}none{% endfor %}", "none"),
        ("{% for x in [1, 2, 3] %}{{ x }}{{ ',' if not loop.last }}{% endfor %}", None),
        ("{% for x in [1, 2, 3] %}{{ x }}{{ '' if loop.last else ',' }}{% endfor %}", "1,2,3"),
        ("{% set a, b = 1, 2 %}{{ a + b }}", "3"),
        ("{% if run.input.n == 4 %}4{% elif run.input.n == 5 %}5{% else %}6{% endif %}", "5"),
        ("{{ range(3) }}", [0, 1, 2]),
        ("{{ range(5, 0, -2) }}", [5, 3, 1]),
    ],
)
def test_expression_renders(source: str, expected: Any) -> None:
    if expected is None and "none" not in source:
        assert "no `else`" in failure(source).message
    else:
        result = render(source)
        assert result == expected
        assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("run.input.records | map(attribute='name') | join(', ')", "a, b"),
        ("run.input.records | map(attribute='nope', default=0)", [0, 0]),
        ("['a', 'b'] | map('upper')", ["A", "B"]),
        ("['1', '2'] | map('int') | sum", 3),
        ("run.input.records | sum(attribute='price')", 5.5),
        ("run.input.records | selectattr('ok') | length", 1),
        ("run.input.records | rejectattr('ok') | map(attribute='name')", ["b"]),
        ("run.input.records | selectattr('price', 'gt', 3) | map(attribute='name')", ["b"]),
        ("[1, 2, 3] | select('odd')", [1, 3]),
        ("[1, 2, 3] | reject('in', [2])", [1, 3]),
        ("run.input.list | sort", [1, 2, 3]),
        ("['b', 'A'] | sort", ["A", "b"]),
        ("['b', 'A', 'a'] | sort(case_sensitive=true, reverse=true)", ["b", "a", "A"]),
        ("run.input.records | sort(attribute='price', reverse=true) | map(attribute='name')", ["b", "a"]),
        ("['a', 'A', 'b'] | unique", ["a", "b"]),
        ("[[1], [1], {'a': 1}] | unique", [[1], {"a": 1}]),
        ("[3, 1] | min + [3, 1] | max", 4),
        ("[1, 2] | first + [1, 2] | last", 3),
        ("[1, 2] | reverse", [2, 1]),
        ("'ab' | reverse", "ba"),
        ("'ab' | list", ["a", "b"]),
        ("run.metadata | items", [["team", "blue"]]),
        ("'4' | int", 4),
        ("'4.7' | int", 4),
        ("'ff' | int(base=16)", 255),
        ("'x' | int(default=-1)", -1),
        ("'1.5' | float", 1.5),
        ("'nan' | int(7)", 7),
        ("5 | string", "5"),
        ("2.567 | round(2)", 2.57),
        ("2.1 | round(method='ceil')", 3.0),
        ("2.9 | round(0, 'floor')", 2.0),
        ("-3 | abs", 3),
        ("'x' | center(3)", " x "),
        ("'a\\n\\nb' | indent(2)", "a\n\n  b"),
        ("'a\\nb' | indent(1, first=true)", " a\n b"),
        ("'aa' | replace('a', 'b')", "bb"),
        ("' x ' | trim", "x"),
        ("'a b' | split", ["a", "b"]),
        ("'a b&/ü' | urlencode", "a%20b%26%2F%C3%BC"),
        ("{'q': 'a b', 'n': 1} | urlencode", "q=a%20b&n=1"),
        ("'%s: %05.1f%%, %x' | format('p', 9.25, 255)", "p: 009.2%, ff"),
        ("'ab' | upper ~ 'AB' | lower ~ ('a b' | title) ~ ('ab' | capitalize)", "ABabA BAb"),
        ("run.input.records | tojson", '[{"name":"a","price":2,"ok":true},{"name":"b","price":3.5,"ok":false}]'),
        ("'' | default('x', true)", "x"),
        ("run.input.n is divisibleby(5) and 2 is even and [] is sequence and {} is mapping", True),
        ("'a' is string and 1 is integer and 1.0 is float and true is boolean and true is true", True),
        ("run.input.n is eq 5 and run.input.n is in [5] and run.input.x is undefined", True),
    ],
)
def test_filters_and_tests_render(expression: str, expected: Any) -> None:
    assert render(f"{{{{ {expression} }}}}") == expected


def test_templates_are_rendered_anywhere_in_value() -> None:
    value = {
        "url": "https://x/{{ run.id }}",
        "{{ run.metadata.team }}": [1, {"deep": "{{ run.input.list }}"}],
        "n": None,
    }
    expected = {"url": "https://x/run_1", "blue": [1, {"deep": [3, 1, 2]}], "n": None}
    assert render(value) == expected
    assert compile_problems(value, "steps[0].input") == []


def test_compiled_value_renders_with_other_scope() -> None:
    template = compile_value("{{ run.input }}")
    assert [template.render({"run": {"input": n}, "steps": {}}) for n in (1, 2)] == [1, 2]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"url": ["{{ run.input.nope }}"]}, "url[0]: run.input has no 'nope'"),
        ("{{ steps.ftch.output.body }}", "steps has no 'ftch'"),
        ("{{ run.input.list.size }}", "run.input.list (a list) has no 'size'"),
        ("{{ run.input.list[9] }}", "run.input.list (a list) has no 9"),
        ("a {{ run['input']['x'] }}", "run['input'] has no 'x'"),
        ("{{ run.input.no.x }}", "run.input.no (null) has no 'x'"),
        ("{{ [run.input.nope] }}", "run.input has no 'nope'"),
        ("{{ run.input.nope == 1 }}", "run.input has no 'nope'"),
        ("{{ run.input.nope is none }}", "run.input has no 'nope'"),
        ("{% if run.input.nope %}{% endif %}", "run.input has no 'nope'"),
        ("{% for x in run.input.nope %}{% endfor %}", "run.input has no 'nope'"),
        ("{{ run.input.nope | upper }}", "run.input has no 'nope'"),
        ("{{ 1 / 0 }}", "Division by zero"),
        ("{{ 1 + 'a' }}", "Cannot add a number and a string"),
        ("{{ '%d' % 1 }}", "a number is needed"),
        ("{{ {} * 2 }}", "Cannot multiply an object and a number"),
        ("{{ [1, 'a'] | sort }}", "have no order, since they are a number and a string"),
        ("{{ 1 < 'a' }}", "Cannot compare a number and a string"),
        ("{{ run.input.n > none }}", "Cannot compare a number and null"),
        ("{{ {} < {} }}", "An object has no order"),
        ("{{ [1, none] | max }}", "a number and null"),
        ("{{ 'a'.replace(1, 2) }}", "does not accept its values"),
        ("{{ run.input.n.upper() }}", "a number has no method upper()"),
        ("{% for x in 5 %}{% endfor %}", "A list is needed here; this is a number"),
        ("{{ {1: 2} }}", "this one is a number"),
        ("{{ [] | first }}", "the value is empty"),
        ("{{ [] | max }}", "the value is empty"),
        ("{{ ['a'] | sum }}", "Cannot sum up a string"),
        ("{{ [1] | map('nope') }}", "No filter is called 'nope'"),
        ("{{ [1] | select('nope') }}", "No test is called 'nope'"),
        ("{{ 'a' | round }}", "round() takes a number"),
        ("{{ '%s %s' | format(1) }}", "more conversions than arguments"),
        ("{{ '%q' | format(1) }}", "not supported"),
        ("{% for x in [1] %}{{ loop }}{% endfor %}", "the loop itself"),
        ("{% for x in [1] %}{{ loop.changed }}{% endfor %}", "loop has no 'changed'"),
        ({"{{ run.input.n }}": 1}, "a string is needed"),
        ({"{{ 'a' }}": 1, "a": 2}, "Two keys"),
        ("{{ run.input.n[1:] }}", "Only lists and strings can be sliced"),
        ("{{ -'a' }}", "Cannot negate a string"),
        ("{{ 1 | items }}", "An object is needed here"),
        ("{{ 'a' | abs }}", "abs takes a number"),
        ("{{ 1 | round(method='up') }}", "common, ceil or floor"),
        ("{{ 1 | format }}", "format works on a string"),
        ("{{ 1.5 is odd }}", "A whole number is needed"),
        ("{{ [1] | map }}", "name is needed"),
    ],
)
def test_expression_that_does_not_fit_data_fails(value: Any, message: str) -> None:
    error = failure(value)
    assert error.code == "TEMPLATE_ERROR"
    assert message in error.message


@pytest.mark.parametrize(
    "value",
    [
        "{{ 9 ** 99 }}",
        "{{ 9223372036854775807 * 4 }}",
        "{{ 18446744073709551615 + 1 }}",
        "{{ 1e308 * 10 }}",
        "{{ (0 - 8) ** 0.5 }}",
        "{{ '[18446744073709551616]' | fromjson }}",
    ],
)
def test_number_that_json_cannot_keep_is_refused(value: str) -> None:
    assert failure(value).code == "NUMBER_OUT_OF_RANGE"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ 1 + }}", "line 1"),
        ("{{ 'a", "line 1"),
        ("{% if 1 %}", "line 1"),
        ("{{ stpes.a }}", "'stpes' is unknown here"),
        ("{{ loop.index }}", "'loop' is unknown here"),
        ("{{ 1|nope }}", "No filter is called 'nope'"),
        ("{{ 1 is nope }}", "No test is called 'nope'"),
        ("{{ 1|round(1, 2, 3) }}", "too many positional arguments"),
        ("{{ 1|default(a=1) }}", "'a'"),
        ("{{ 1|default(1, boolean=1, boolean=2) }}", "twice"),
        ("{{ [1]|join(*[1]) }}", "not available"),
        ("{{ ''.format(1) }}", "format() cannot be called"),
        ("{{ lipsum() }}", "lipsum() cannot be called"),
        ("{{ run() }}", "run() cannot be called"),
        ("{{ range(1, 2, 3, 4) }}", "one to three"),
        ("{{ dict(a=1) }}", "dict() cannot be called"),
        ("{% macro m() %}{% endmacro %}", "`macro`"),
        ("{% macro m() %}{% endmacro %}{% call m() %}{% endcall %}", "not available"),
        ("{% import 'x' as y %}", "`import`"),
        ("{% include 'x' %}", "`include`"),
        ("{% extends 'x' %}", "`extends`"),
        ("{% block b %}{% endblock %}", "`block`"),
        ("{% filter upper %}{% endfilter %}", "`filterblock`"),
        ("{% set x %}{% endset %}", "`assignblock`"),
        ("{% set x.y = 1 %}", "`nsref`"),
        ("{% with a=1 %}{% endwith %}", "`with`"),
        ("{% set loop = 1 %}", "`loop`"),
        ("{% for x in [1] recursive %}{% endfor %}", "Recursive"),
        ("{{ 1e999 }}", "out of range"),
        ("{{ 99999999999999999999 }}", "out of range"),
        ("{{ " + "9" * 5_000 + " }}", "digits"),
        ("{{ '\\ud800' }}", "surrogate"),
        ("{{ " + "(" * 3_000 + "1" + ")" * 3_000 + " }}", "nested too deeply"),
        ("{{ " + "[" * 100 + "1" + "]" * 100 + " }}", "nested too deeply"),
        ("{{ " + "not " * 3_000 + "1 }}", "nested too deeply"),
        ("{% for x in [1] %}" * 30 + "{% endfor %}" * 30, "does not compile"),
        ("{{ [" + "1," * 4_000 + "] }}", "2,000"),
        ("{{ 1 }}" + "x" * 20_000, "16,384"),
    ],
)
def test_invalid_template_does_not_compile(source: str, message: str) -> None:
    with pytest.raises(TemplateCompileError, match=r".") as caught:
        compile_value({"a": [source]})
    assert caught.value.path == ("a", 0)
    (problem,) = compile_problems({"a": [source], "b": "{{ 1 }}"}, "steps[2].input")
    assert problem.path == "steps[2].input.a[0]"
    assert message in problem.message


def test_compilation_reports_bounded_number_of_problems() -> None:
    assert len(compile_problems({"a": "{{ x }}", "b": "{{ y }}"}, "output")) == 2
    assert len(compile_problems(["{{ x }}"] * 50, "output")) == 20
    (many,) = compile_problems(["{{ 1 }}"] * 1_001, "output")
    assert "At most 1,000 templates" in many.message
    deep: Any = "{{ 1 }}"
    for _ in range(150):
        deep = [deep]
    assert "levels deep" in compile_problems(deep, "output")[0].message


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__ }}",
        "{{ ''['__class__'] }}",
        "{{ run.__class__.__mro__ }}",
        "{{ run.input.keys }}",
        "{{ range.__globals__ }}",
        "{{ run.input.list.append }}",
        "{{ ''.format }}",
        "{{ '{0.__class__}'.format(1) }}",
        "{{ '{0.__class__}'.format_map(run) }}",
        "{{ '%(a)s' | format(a=1) }}",
        "{{ '' | attr('__class__') }}",
        "{{ [run] | map(attribute='__class__') }}",
        "{{ [run] | map(attribute='input.__class__') }}",
        "{{ [run] | map('attr', '__class__') }}",
        "{{ [run] | map('\N{SECTION SIGN}item', 'a', 'b') }}",
        "{{ run | \N{SECTION SIGN}value }}",
        "{{ run.input.list.sort() }}",
        "{{ run.input.update({}) }}",
        "{{ self }}",
        "{{ self._TemplateReference__context }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ namespace(a=1) }}",
        "{{ caller() }}",
        "{% for x in [1] %}{{ loop.__class__ }}{% endfor %}",
        "{% for x in [1] %}{{ loop._iterator }}{% endfor %}",
        "{% for x in [1] %}{{ loop([1]) }}{% endfor %}",
        "{% for x in [1] %}{{ [loop] | map(attribute='__init__') }}{% endfor %}",
        "{{ (1).__class__.__base__.__subclasses__() }}",
        "{{ run.input.strip.__self__ }}",
        "{% set range = run %}{{ range.__class__ }}",
    ],
)
def test_template_cannot_escape_sandbox(source: str) -> None:
    with pytest.raises((StepError, TemplateCompileError)):
        render(source)


def test_render_does_not_change_scope() -> None:
    scope = {"run": {"input": {"list": [2, 1]}}, "steps": {}}
    assert render("{{ run.input.list | sort }}{{ run.input.list + [3] }}", scope) == "[1,2][2,1,3]"
    assert scope == {"run": {"input": {"list": [2, 1]}}, "steps": {}}


def test_scope_must_be_json() -> None:
    assert failure("{{ run.input }}", {"run": {"input": {1: object()}}, "steps": {}}).code == "TEMPLATE_ERROR"


ATOMS = (
    "run|steps|run.input|run.input.list|run.input.records|run.input.text|run.input.nope|run.input.n|0|1|-1|2.5|none|true"
    "|10**9|'a'|''|'%s%9d'|[]|{}|loop.index|x|1e300|'{0}'"
)
FILTERS = (
    "abs capitalize center center(9999) default default(1) first float format(1,2) indent indent(99) int items join"
    " join('-') last length list lower map('upper') map(attribute='name') map map('map','abs') max min reject"
    " rejectattr('ok') replace('a','b') replace('','aa') reverse round round(-3) select select('odd')"
    " selectattr('ok','eq',1) sort sort(attribute='name') split string sum title tojson trim unique upper urlencode"
    " nope"
)
METHODS = (
    "upper() split() split('') replace('a','b') items() keys() get('a') get([]) count(1) strip() find('a') title"
    " __class__ format(1) strip([]) startswith(1) removeprefix('a')"
)
OPERATORS = "+,-,*,/,//,%,**,~,==,!=,<,<=,>,>=,in,not in,and,or,|,is,is not"
TESTS = "defined none odd divisibleby(0) string in mapping eq(1)"


def one_of(words: str, separator: str | None = None) -> st.SearchStrategy[str]:
    return st.sampled_from(words.split(separator))


def combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, one_of(OPERATORS, ","), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(inner, one_of(FILTERS)).map(lambda t: f"({t[0]} | {t[1]})"),
        st.tuples(inner, one_of(METHODS)).map(lambda t: f"({t[0]}).{t[1]}"),
        st.tuples(inner, one_of(TESTS)).map(lambda t: f"({t[0]} is {t[1]})"),
        st.tuples(inner, inner).map(lambda t: f"{t[0]}[{t[1]}]"),
        st.tuples(inner, inner, inner).map(lambda t: f"{t[0]}[{t[1]}:{t[2]}]"),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]} if {t[1]} else {t[2]})"),
        st.tuples(inner, inner).map(lambda t: f"({t[0]} if {t[1]})"),
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.tuples(inner, inner).map(lambda t: f"{{{t[0]}: {t[1]}}}"),
        inner.map(lambda each: f"-{each}"),
        inner.map(lambda each: f"range({each})"),
    )


EXPRESSIONS = st.recursive(one_of(ATOMS, "|"), combined, max_leaves=6)


def statements(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(EXPRESSIONS, inner).map(lambda t: f"{{% for x in {t[0]} %}}{t[1]}{{% else %}}e{{% endfor %}}"),
        st.tuples(EXPRESSIONS, EXPRESSIONS, inner).map(
            lambda t: f"{{% for x in {t[0]} if {t[1]} %}}{{{{ loop.length }}}}{t[2]}{{% endfor %}}"
        ),
        st.tuples(EXPRESSIONS, inner, inner).map(lambda t: f"{{% if {t[0]} %}}{t[1]}{{% else %}}{t[2]}{{% endif %}}"),
        st.tuples(EXPRESSIONS, inner).map(lambda t: f"{{% set x = {t[0]} %}}{t[1]}"),
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, st.text(alphabet="{}%#-ab '\"\\\n", max_size=6)).map("".join),
    )


TEMPLATES = st.recursive(EXPRESSIONS.map(lambda each: f"{{{{ {each} }}}}"), statements, max_leaves=5)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(TEMPLATES)
def test_any_template_renders_or_fails_with_template_error(source: str) -> None:
    try:
        template = compile_value(source)
    except TemplateCompileError:
        return
    try:
        template.render(SCOPE)
    except StepError as error:
        assert error.code in ("TEMPLATE_ERROR", "TEMPLATE_LIMIT", "NUMBER_OUT_OF_RANGE")  # noqa: PT017 - an error is allowed, but not required
