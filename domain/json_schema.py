"""JSON Schema 2020-12, checked without reading remote references and with regular expressions in linear time."""

from collections.abc import Iterable
from typing import Any

import jsonschema_rs

from domain.errors import Problem

MAX_PROBLEMS = 20
"""Faults told at once: enough to mend a document by."""


def compile_schema(schema: dict[str, Any]) -> jsonschema_rs.Draft202012Validator:
    """A validator for `schema`.

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
    """What is wrong with `instance`, with paths that start at `root`; empty when it is valid."""
    found: list[Problem] = []
    for error in validator.iter_errors(instance):
        found.append(Problem(path_text(error.instance_path, root), error.message[:500]))
        if len(found) == MAX_PROBLEMS:
            break
    return found


def path_text(path: Iterable[str | int], root: str = "") -> str:
    """A path as people write it: `steps[2].input.url`."""
    text = root
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
