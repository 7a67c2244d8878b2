import socket
from collections.abc import Iterator
from typing import Any

import pytest

from domain.flows import json_schema
from domain.problem import Problem


def problems(schema: dict[str, Any], instance: Any, root: str = "") -> list[Problem]:
    return json_schema.problems(json_schema.compile_schema(schema), instance, root)


def test_valid_instance_has_no_problems() -> None:
    assert problems({"type": "object", "required": ["a"]}, {"a": 1}) == []


def test_problems_name_their_paths() -> None:
    schema = {
        "properties": {"name": {"type": "string"}, "rows": {"items": {"properties": {"n": {"minimum": 3}}}}},
        "required": ["id"],
    }
    found = problems(schema, {"name": 1, "rows": [{"n": 3}, {"n": 2}]}, "input")
    assert {problem.path: problem.message for problem in found} == {
        "input": '"id" is a required property',
        "input.name": '1 is not of type "string"',
        "input.rows[1].n": "2 is less than the minimum of 3",
    }


@pytest.mark.parametrize(
    ("path", "root", "text"),
    [
        ([], "", ""),
        ([], "input", "input"),
        (["steps", 2, "input", "url"], "", "steps[2].input.url"),
        (["steps", 2], "input", "input.steps[2]"),
        ([0, "a", 1, 2], "", "[0].a[1][2]"),
    ],
)
def test_paths_use_dots_and_brackets(path: list[str | int], root: str, text: str) -> None:
    assert json_schema.path_text(path, root) == text


def test_problems_have_bounded_number_and_length() -> None:
    found = problems({"items": {"type": "string", "description": "x"}}, [["x" * 2_000]] * 100)
    assert len(found) == json_schema.MAX_PROBLEMS
    assert all(len(problem.message) <= 500 for problem in found)


@pytest.mark.parametrize(("format_name", "bad"), [("date-time", "yesterday"), ("email", "nobody"), ("uuid", "1")])
def test_formats_are_checked(format_name: str, bad: str) -> None:
    assert problems({"format": format_name}, bad)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


def test_remote_schema_is_never_fetched(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with pytest.raises(ValueError, match=r"127\.0\.0\.1"):
        json_schema.compile_schema({"$ref": f"http://127.0.0.1:{port}/schema.json"})
    with pytest.raises(BlockingIOError):  # the server got no connection
        listener.accept()


@pytest.mark.parametrize("where", ["file:///etc/passwd", "ftp://example.com/x", "x.json", "urn:x"])
@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef"])
def test_external_reference_is_refused(keyword: str, where: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        json_schema.compile_schema({keyword: where})


def test_local_reference_is_followed() -> None:
    schema = {"$defs": {"tree": {"properties": {"left": {"$ref": "#/$defs/tree"}, "value": {"type": "number"}}}}}
    found = problems({**schema, "$ref": "#/$defs/tree"}, {"left": {"left": {"value": "x"}}})
    assert [problem.path for problem in found] == ["left.left.value"]


def test_recursive_reference_terminates() -> None:
    assert problems({"$ref": "#"}, {"a": 1}) == []
    assert problems({"allOf": [{"$ref": "#"}]}, {"a": 1}) == []


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|aa)+$", "^(a|a?)+$", r"^(\w+\s?)*$"])
def test_pattern_takes_linear_time(pattern: str) -> None:
    # An engine that backtracks takes exponential time for each of these patterns.
    assert problems({"pattern": pattern}, "a" * 50_000 + "!")


@pytest.mark.parametrize("pattern", ["(?=a)", "(?<!a)b", r"(a)\1", "(", "a{1,100000}{1,100000}"])
def test_pattern_that_needs_backtracking_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        json_schema.compile_schema({"pattern": pattern})


NOT_SCHEMAS: dict[str, Any] = {
    "an unknown type": {"type": "strin"},
    "a type that is a number": {"type": 1},
    "properties as a list": {"properties": []},
    "a negative length": {"minLength": -1},
    "a pointer to nowhere": {"$ref": "#/$defs/gone"},
    "a lone surrogate": {"const": "\ud800"},
    "a key that is a lone surrogate": {"\ud800": 1},
    "a key that is no text": {1: 1},
    "what is no JSON": {"const": object()},
}


@pytest.mark.parametrize("schema", list(NOT_SCHEMAS.values()), ids=list(NOT_SCHEMAS))
def test_invalid_schema_is_reported_in_one_line(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        json_schema.compile_schema(schema)
    assert "\n" not in str(refused.value)


def nested(schema: dict[str, Any], depth: int) -> dict[str, Any]:
    for _ in range(depth):
        schema = {"properties": {"a": schema}}
    return schema


def test_too_deeply_nested_schema_is_refused() -> None:
    assert json_schema.compile_schema(nested({}, 100))
    with pytest.raises(ValueError, match="Recursion limit"):
        json_schema.compile_schema(nested({}, 5_000))


def test_deeply_nested_instance_is_checked_completely() -> None:
    instance: Any = "x"
    for _ in range(250):
        instance = {"a": instance}
    schema = {"properties": {"a": {"$ref": "#"}}, "type": "object"}
    assert [problem.message for problem in problems(schema, instance)] == ['"x" is not of type "object"']
