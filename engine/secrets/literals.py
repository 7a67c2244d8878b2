"""Finds literals in definitions that look like credentials, so that publishing a version can warn of them."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from domain.flows.definition import FlowDefinition, to_json_value
from domain.flows.json_schema import path_text
from domain.problem import Problem

MAX_WARNINGS = 20
"""Largest number of warnings about one definition."""
_MIN_LENGTH = 6
"""Characters of the shortest literal that counts as a credential because of its key's name."""
_NAMED = re.compile(
    r"(^|[_.-])(authorization|api[_-]?key|access[_-]?key|auth[_-]?token|bearer|client[_-]?secret|credentials?|passwd|"
    r"password|private[_-]?key|secret|session[_-]?token|token)$",
    re.IGNORECASE,
)
"""Keys whose values are credentials."""
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SHAPES = {
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a GitHub token": re.compile(r"\b(gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,})"),
    "a GitLab token": re.compile(r"\bglpat-[A-Za-z0-9_-]{16,}"),
    "a Slack token": re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
    "a Stripe key": re.compile(r"\b[rs]k_(live|test)_[A-Za-z0-9]{10,}"),
    "an AWS key": re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b"),
    "a Google key": re.compile(r"\bAIza[A-Za-z0-9_-]{30,}"),
    "an API key": re.compile(r"\bsk-[A-Za-z0-9_-]{20,}"),
    "a JSON Web Token": re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\."),
    "a key of Flow Runs": re.compile(r"\bfrh?_[A-Za-z0-9_-]{40,}"),
}
_AUTHORIZATION = re.compile(r"\s*(basic|bearer|token|digest|apikey)\s+\S{6,}", re.IGNORECASE)


def credential_warnings(definition: FlowDefinition) -> list[Problem]:
    """Returns a problem for each literal that looks like a credential, at most 20. Messages do not repeat literals."""
    found: list[Problem] = []
    for index, step in enumerate(definition.steps):
        for place, literal, key in _literals(to_json_value(step.input), (), ""):
            if (what := _looks_like(literal, key)) is not None:
                message = (
                    f"This looks like {what}, and everyone who can see the flow can read it. Create a secret "
                    f"with `createSecret` and write `{{{{ secrets.NAME }}}}`"
                )
                found.append(Problem(path_text(place, f"steps[{index}].input"), message))
    return found[:MAX_WARNINGS]


def _literals(value: Any, place: tuple[str | int, ...], key: str) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    if isinstance(value, str):
        yield place, value, key
    elif isinstance(value, dict):
        for name, entry in value.items():
            yield from _literals(entry, (*place, name), name)
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from _literals(entry, (*place, index), key)


def _looks_like(literal: str, key: str) -> str | None:
    for what, shape in _SHAPES.items():
        if shape.search(literal):
            return what
    if "{{" in literal or "{%" in literal:
        # The literal is a reference: the credential itself is somewhere else.
        return None
    if _AUTHORIZATION.fullmatch(literal) and len(literal) < 4_000:
        return "a credential"
    if len(literal.strip()) >= _MIN_LENGTH and _NAMED.search(_CAMEL.sub("_", key)):
        return f"a credential, by its key {key[:100]!r}"
    return "a password in a URL" if _has_password(literal) else None


def _has_password(literal: str) -> bool:
    if "://" not in literal or "@" not in literal:
        return False
    try:
        return bool(urlsplit(literal.strip()).password)
    except ValueError:
        return False
