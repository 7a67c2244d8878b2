"""Validates by JSON Schema 2020-12, without remote references, and with regular expressions in linear time."""

from collections.abc import Iterable
from typing import Any

import jsonschema_rs

from domain.problem import Problem

MAX_PROBLEMS = 20
"""Largest number of problems in one response: enough to correct a document."""


def compile_schema(schema: dict[str, Any]) -> jsonschema_rs.Draft202012Validator:
    """Returns a validator for `schema`.

    Raises:
        ValueError: `schema` is not a JSON Schema; the message says why.
    """
    try:
        return jsonschema_rs.Draft202012Validator(
            schema, offline=True, validate_formats=True, pattern_options=jsonschema_rs.RegexOptions()
        )
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        raise ValueError(str(error).partition("\n")[0]) from None


def problems(validator: jsonschema_rs.Draft202012Validator, instance: Any, root: str = "") -> list[Problem]:
    """Returns the problems of `instance`, with paths that start at `root`; empty if it is valid."""
    found_problems: list[Problem] = []
    for error in validator.iter_errors(instance):
        found_problems.append(Problem(path_text(error.instance_path, root), error.message[:500]))
        if len(found_problems) == MAX_PROBLEMS:
            break
    return found_problems


def path_text(path: Iterable[str | int], root: str = "") -> str:
    """Returns a path in JavaScript notation: `steps[2].input.url`."""
    text = root
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
