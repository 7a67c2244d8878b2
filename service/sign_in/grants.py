"""The roles of the groups of the identity provider: the setting FLOWRUNS_OIDC_ROLES."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import orjson

from domain.enums import Role

EVERYONE = "*"
"""The group of every person whom the identity provider signs in."""
ALL_PROJECTS = "*"
DEFAULT_PROJECT = "default"
_FORM = (
    'it must be a JSON object from groups to roles, such as {"platform": "ADMIN@*", "payments": ["OPERATOR@payments"],'
    ' "*": "VIEWER"}'
)

GroupGrants = Mapping[str, Sequence["Grant"]]
"""The grants of each group."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A role in a project."""

    project: str | None
    """The name of the project; None for all projects."""
    role: Role


def parse(text: str) -> GroupGrants:
    """Returns the grants in the JSON text of the setting.

    Raises:
        ValueError: the text has another form, or names an unknown role.
    """
    try:
        value = orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        raise ValueError(_FORM) from None
    if not isinstance(value, dict):
        raise ValueError(_FORM)  # noqa: TRY004 - pydantic reports ValueErrors
    return {group: [_grant(each) for each in _as_list(granted)] for group, granted in value.items()}


def _as_list(granted: object) -> list[object]:
    return granted if isinstance(granted, list) else [granted]


def _grant(text: object) -> Grant:
    if not isinstance(text, str):
        raise ValueError(_FORM)  # noqa: TRY004 - pydantic reports ValueErrors
    role, _, project = text.partition("@")
    if role not in list(Role):
        raise ValueError(f"{role!r} is not a role: it must be one of {', '.join(Role)}")
    project = project or DEFAULT_PROJECT
    return Grant(None if project == ALL_PROJECTS else project, Role(role))


def granted(grants: GroupGrants, groups: Collection[str]) -> list[Grant]:
    """Returns the grants of a member of `groups`, with the highest role for each project.

    The grant for all projects comes first; the others have the order of the setting.
    """
    highest: dict[str | None, Role] = {}
    for group, listed in grants.items():
        if group == EVERYONE or group in groups:
            for grant in listed:
                known = highest.get(grant.project)
                if known is None or grant.role.includes(known):
                    highest[grant.project] = grant.role
    found = [Grant(project, role) for project, role in highest.items()]
    return sorted(found, key=lambda grant: grant.project is not None)
