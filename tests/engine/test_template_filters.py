"""The filters of templates for other forms of text and for times."""

from typing import Any

import pytest

from engine.errors import StepError
from engine.templates import compile_problems, compile_value

TIME = "2026-01-31T12:00:00Z"


def render(expression: str, **run_input: Any) -> Any:
    assert compile_problems(expression, "input") == []
    return compile_value(expression).render({"run": {"input": run_input}, "steps": {}})


@pytest.mark.parametrize(
    ("source", "value", "expected"),
    [
        ("v | fromjson", '{"a": [1, null]}', {"a": [1, None]}),
        ("(v | fromjson).a", '{"a": 5}', 5),
        ("v | fromjson", "7", 7),
        ("v | fromjson", {"a": 1}, {"a": 1}),
        ("v | fromjson", '\ufeff{"a": 1}', {"a": 1}),
        ("v | tojson | fromjson", [1.5, "x"], [1.5, "x"]),
        ("v | b64encode", "Jörg", "SsO2cmc="),
        ("v | b64encode(urlsafe=true)", "??>>", "Pz8-Pg=="),
        ("v | b64decode", "SsO2cmc=", "Jörg"),
        ("v | b64decode", "Pz8-Pg", "??>>"),
        ("v | b64decode", "Pz8+\nPg==", "??>>"),
        ("v | hash", "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ("v | hash('md5')", "abc", "900150983cd24fb0d6963f7d28e17f72"),
        ("v | hash('SHA-1')", "abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        ("v | hash", {"a": 1}, "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"),
        ("v | hmac('key')", "abc", "9c196e32dc0175f86f4b1cb89289d6619de6bee699e4c378e68309ed97a1a6ab"),
        ("v | urlencode", "a b&c/ü", "a%20b%26c%2F%C3%BC"),
        ("v | urlencode", {"a": "x y", "b": 1}, "a=x%20y&b=1"),
    ],
)
def test_forms_of_text(source: str, value: Any, expected: Any) -> None:
    assert render(f"{{{{ {source.replace('v', 'run.input.v', 1)} }}}}", v=value) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("'2026-01-31T13:00:00+01:00' | date_parse", TIME),
        ("'2026-01-31 12:00' | date_parse", TIME),
        ("'2026-01-31t12:00:00z' | date_parse", TIME),
        ("'2026-01-30T24:00:00Z' | date_parse", "2026-01-31T00:00:00Z"),
        ("'2026-01-31T13:00' | date_parse(time_zone='Europe/Berlin')", TIME),
        ("'31.01.2026 13:00' | date_parse('%d.%m.%Y %H:%M', 'Europe/Berlin')", TIME),
        ("1769860800 | date_parse", TIME),
        (f"'{TIME}' | date_add(days=1, hours=-1)", "2026-02-01T11:00:00Z"),
        (f"'{TIME}' | date_add(months=1)", "2026-02-28T12:00:00Z"),
        (f"'{TIME}' | date_add(months=-2)", "2025-11-30T12:00:00Z"),
        ("'2024-02-29' | date_add(years=1)", "2025-02-28T00:00:00Z"),
        (f"'{TIME}' | date_add(weeks=2, minutes=1.5)", "2026-02-14T12:01:30Z"),
        ("'2026-03-28T12:00' | date_add(days=1, time_zone='Europe/Berlin')", "2026-03-29T10:00:00Z"),
        ("'2026-03-28T12:00' | date_add(hours=24, time_zone='Europe/Berlin')", "2026-03-29T11:00:00Z"),
        (f"'{TIME}' | date_format('%d.%m.%Y %H:%M', 'Europe/Berlin')", "31.01.2026 13:00"),
        (f"'{TIME}' | date_format", "2026-01-31"),
        (f"'{TIME}' | date_format('100%% %A')", "100% Saturday"),
        (f"'{TIME}' | date_zone('America/New_York')", "2026-01-31T07:00:00-05:00"),
        (f"'{TIME}' | date_diff('2026-01-31T11:59:00Z')", 60.0),
        (f"'{TIME}' | timestamp | int", 1769860800),
        (f"'{TIME}' | date_add(days=1) > '{TIME}'", True),
    ],
)
def test_times(source: str, expected: Any) -> None:
    assert render(f"{{{{ {source} }}}}") == expected


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("'{' | fromjson", "not JSON"),
        ("'NaN' | fromjson", "not JSON"),
        ("'*' | b64decode", "not base64"),
        ("'/w==' | b64decode", "UTF-8"),
        ("5 | b64decode", "this is a number"),
        ("'x' | hash('crc')", "one of md5"),
        ("'tomorrow' | date_parse", "is not a time"),
        ("none | date_parse", "this is null"),
        ("true | date_add(days=1)", "this is a boolean"),
        ("'2026-01-01' | date_parse('%d.%m.%Y')", "not a time in the format"),
        ("'2026-01-01' | date_format('%999999d')", "not supported"),
        ("'2026-01-01' | date_zone('Mars/Base')", "No time zone"),
        ("'2026-01-01' | date_add(years=9999)", "calendar"),
        ("'2026-01-01' | date_add(days=10 ** 15)", "calendar"),
        ("'2026-01-01' | date_add(months=0.5)", "whole numbers"),
        ("'2026-01-01' | date_add(days='2')", "a string"),
        ("1e300 | date_parse", "is not a time"),
    ],
)
def test_wrong_values_fail_with_a_readable_message(source: str, message: str) -> None:
    with pytest.raises(StepError) as caught:
        render(f"{{{{ {source} }}}}")
    assert caught.value.code == "TEMPLATE_ERROR"
    assert message in caught.value.message


def test_large_texts_pay_the_meter() -> None:
    with pytest.raises(StepError) as caught:
        render("{% for i in range(100) %}{{ run.input.v | b64encode | length }}{% endfor %}", v="x" * 500_000)
    assert caught.value.code == "TEMPLATE_LIMIT"


def url(source: str, value: Any) -> Any:
    return compile_value({"url": source}, ("url",)).render({"run": {"input": {"v": value}}, "steps": {}})["url"]


@pytest.mark.parametrize(
    ("source", "value", "expected"),
    [
        ("https://h/s?q={{ run.input.v }}&lim=5", "A & B #1", "https://h/s?q=A%20%26%20B%20%231&lim=5"),
        ("https://h/s?q={{ run.input.v }}", "x&admin=1", "https://h/s?q=x%26admin%3D1"),
        ("https://h/o/{{ run.input.v }}/x", "a/b", "https://h/o/a%2Fb/x"),
        ("https://h/o/{{ run.input.v }}/x", "../../admin?", "https://h/o/..%2F..%2Fadmin%3F/x"),
        ("https://h/o/{{ run.input.v }}", 5, "https://h/o/5"),
        ("https://h/o/{{ run.input.v }}", True, "https://h/o/true"),
        ("https://h/o/{{ run.input.v }}", "", "https://h/o/"),
        ("https://h/{{ run.input.v }}.json", ".", "https://h/..json"),
        ("https://{{ run.input.v }}/o", "example.com:8080", "https://example.com:8080/o"),
        ("{{ run.input.v }}/o?a={{ run.input.v }}", "https://h", "https://h/o?a=https%3A%2F%2Fh"),
        ("{{ run.input.v }}", "https://h/a?b=c d", "https://h/a?b=c d"),
        (" {{ 'https://h/' ~ run.input.v }} ", "a/b", "https://h/a/b"),
        ("https://h/s?{% for x in [1, 2] %}x={{ x }}&{% endfor %}", None, "https://h/s?x=1&x=2&"),
        ("https://h?q={{ run.input.v }}", "a/b", "https://h?q=a%2Fb"),
        ("https://h/s?q=..{{ run.input.v }}", "", "https://h/s?q=.."),
        # What is encoded by hand is not encoded twice.
        ("https://h/o/{{ run.input.v | urlencode }}?q={{ run.input.v }}", "a b/", "https://h/o/a%20b%2F?q=a%20b%2F"),
        ("https://h/s?{{ run.input.v | urlencode }}", {"q": "a b", "n": 1}, "https://h/s?q=a%20b&n=1"),
        ("https://h/s?x={{ 'a' ~ (run.input.v | urlencode) }}", "&", "https://h/s?x=a%2526"),
    ],
)
def test_values_stay_in_their_part_of_a_url(source: str, value: Any, expected: str) -> None:
    assert url(source, value) == expected


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("https://h/o/{{ run.input.v }}", None),
        ("https://h/o/{{ run.input.v }}", [1]),
        ("https://h/o/{{ run.input.v }}", {}),
        ("https://{{ run.input.v }}/o", None),
        ("https://h/o/{{ run.input.v }}/x", ".."),
        ("https://h/o/{{ run.input.v | urlencode }}/x", ".."),
        ("https://h/o/{{ run.input.v }}", "."),
        ("https://h/o/.{{ run.input.v }}?x", "."),
    ],
)
def test_value_that_cannot_stand_in_a_url_fails(source: str, value: Any) -> None:
    with pytest.raises(StepError) as caught:
        url(source, value)
    assert caught.value.code == "TEMPLATE_ERROR"


def test_only_urls_are_encoded() -> None:
    compiled = compile_value({"url": "https://h/{{ 'a b' }}", "body": "https://h/{{ 'a b' }}"}, ("url",))
    assert compiled.render({"run": {}, "steps": {}}) == {"url": "https://h/a%20b", "body": "https://h/a b"}
