"""What restricted viewers can select: every field of the schema is tried."""

from collections.abc import Iterator
from functools import cache
from uuid import UUID

import pytest
from graphql import (
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLUnionType,
    get_named_type,
    is_leaf_type,
    parse,
)
from sqlalchemy import text

from db.core.unit_of_work import UnitOfWork
from domain.enums import Role
from domain.errors import ForbiddenError
from domain.runs.run_filter import RunFilter
from resolvers.context import Viewer
from schema import visibility
from schema.visibility import IN_SCOPE, PAYLOADS
from tests.schema.test_fields import SCHEMA, WAYS, arguments, fields_of
from tests.support.app import App
from tests.support.run_family import make_run_family

ANY_ID = UUID(int=0)
TOKEN = Viewer(ANY_ID, ANY_ID, Role.VIEWER, "token", token_id=ANY_ID, scope=RunFilter.part(tags=("mine",)))
WITHOUT_PAYLOADS = Viewer(ANY_ID, ANY_ID, Role.ADMIN, "key", payloads=False)
ROOTS = ("Query", "Subscription")
MARK = "what the run is about"


def possible(name: str) -> Iterator[str]:
    """The object types that a value of the type can have."""
    kind = SCHEMA.type_map[name]
    if isinstance(kind, GraphQLObjectType):
        yield name
    elif isinstance(kind, GraphQLUnionType | GraphQLInterfaceType):
        yield from (each.name for each in SCHEMA.get_possible_types(kind))


@cache
def reached(start: str) -> frozenset[str]:
    """The object types to which fields in scope lead from a type, itself only if one leads back."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        for field_name, field in fields_of(name).items():
            if f"{name}.{field_name}" in IN_SCOPE:
                new = set(possible(get_named_type(field.type).name)) - found
                found |= new
                waiting += new
    return frozenset(found)


def test_lists_name_fields_of_the_schema() -> None:
    for name in IN_SCOPE | PAYLOADS:
        type_name, _, field_name = name.partition(".")
        assert field_name in fields_of(type_name), name


def test_no_field_leads_from_a_run_to_another_object() -> None:
    """Of a flow it shows the ID and the name; files, input requests and all others belong to the run."""
    faces = SCHEMA.type_map["Node"]
    assert isinstance(faces, GraphQLInterfaceType)
    objects = {each.name for each in SCHEMA.get_possible_types(faces)} - {"Flow", "RunFile", "InputRequest"}
    assert objects >= {"FlowRun", "Project", "BulkOperation", "Schedule", "Webhook", "Secret"}
    assert reached("FlowRun").isdisjoint(objects)
    assert {name for name in IN_SCOPE if name.startswith("Flow.")} == {"Flow.id", "Flow.name"}
    everywhere = reached("Query") | reached("Subscription")
    assert everywhere & objects == {"FlowRun"}
    assert {name.partition(".")[0] for name in IN_SCOPE} <= everywhere | set(ROOTS)
    # Runs are found by the root fields that know scopes, and in events.
    leading = {
        f"{name}.{field_name}"
        for name in everywhere | set(ROOTS)
        for field_name, field in fields_of(name).items()
        if f"{name}.{field_name}" in IN_SCOPE and get_named_type(field.type).name in ("FlowRun", "FlowRunConnection")
    }
    of_events = {"FlowRunStatusChanged.run", "FlowRunUpdated.run"}
    of_lists = {"FlowRunConnection.nodes", "FlowRunEdge.node"}
    assert leading == {"Query.flowRun", "Query.flowRuns"} | of_events | of_lists


def is_refused(viewer: Viewer, document: str) -> bool:
    try:
        visibility.check(SCHEMA, parse(document), viewer)
    except ForbiddenError:
        return True
    return False


@pytest.mark.parametrize("type_name", sorted(WAYS))
def test_every_field_is_refused_unless_it_is_listed(type_name: str) -> None:
    for name, field in fields_of(type_name).items():
        inner = "" if is_leaf_type(get_named_type(field.type)) else " { __typename }"
        document = f"fragment f on {type_name} {{ again: {name}{inner} }}"
        assert is_refused(TOKEN, document) is (f"{type_name}.{name}" not in IN_SCOPE), name
        assert is_refused(WITHOUT_PAYLOADS, document) is (f"{type_name}.{name}" in PAYLOADS), name


@pytest.mark.parametrize(
    ("directive", "variables", "is_left_out"),
    [
        ("@include(if: $it)", {"it": False}, True),
        ("@include(if: $it)", {"it": True}, False),
        ("@include(if: $it)", {}, False),
        ("@skip(if: $it)", {"it": True}, True),
        ("@skip(if: $it)", {"it": False}, False),
        ("@skip(if: true)", {}, True),
        ("@include(if: false)", {}, True),
        ("@include(if: true) @skip(if: $it)", {"it": True}, True),
    ],
)
def test_field_that_is_left_out_is_not_refused(directive: str, variables: dict[str, bool], is_left_out: bool) -> None:
    document = parse(f"fragment f on StepResult {{ name output {directive} attempts {directive} {{ number }} }}")
    if is_left_out:
        visibility.check(SCHEMA, document, WITHOUT_PAYLOADS, variables)
    else:
        with pytest.raises(ForbiddenError):
            visibility.check(SCHEMA, document, WITHOUT_PAYLOADS, variables)


def test_every_mutation_and_root_field_is_refused_to_tokens_unless_it_is_listed() -> None:
    for root, keyword in (("Query", "query"), ("Mutation", "mutation"), ("Subscription", "subscription")):
        for name in fields_of(root):
            document = f"{keyword} {{ {name} {{ __typename }} }}"
            assert is_refused(TOKEN, document) is (f"{root}.{name}" not in IN_SCOPE), name


def allowed(type_name: str) -> str:
    """All fields of a type that show no payloads, with the leaves below them."""
    chosen = ["__typename"]
    for name, field in fields_of(type_name).items():
        if f"{type_name}.{name}" in PAYLOADS:
            continue
        kind = get_named_type(field.type)
        if is_leaf_type(kind):
            chosen.append(name + arguments(field))
        else:
            leaves = (
                each
                for each, inner in fields_of(kind.name).items()
                if is_leaf_type(get_named_type(inner.type)) and f"{kind.name}.{each}" not in PAYLOADS
            )
            chosen.append(f"{name}{arguments(field)} {{ __typename {' '.join(leaves)} }}")
    return " ".join(chosen)


MARKED = (
    f"UPDATE flow_run SET input = '\"{MARK}\"', output = '\"{MARK}\"', summary = '{MARK}'",
    f"UPDATE step_result SET input = '\"{MARK}\"', output = '\"{MARK}\"'",
    f"""UPDATE step_result SET error = '{{"code": "X", "message": "it failed", "details": "{MARK}"}}'
        WHERE error IS NOT NULL""",
    f"""UPDATE step_attempt SET error = '{{"code": "X", "message": "it failed", "details": "{MARK}"}}'
        WHERE error IS NOT NULL""",
    f"UPDATE input_request SET title = '{MARK}', description = '{MARK}', answer = '\"{MARK}\"'",
    f"UPDATE input_request SET status = 'ANSWERED', answer_schema = '{{\"title\": \"{MARK}\"}}'",
    f"UPDATE run_event SET message = '{MARK}'",
    f"UPDATE schedule SET input = '\"{MARK}\"'",
)
"""Statements after which every payload in the database is MARK."""


def mark(uow: UnitOfWork) -> None:
    for statement in MARKED:
        uow.conn.execute(text(statement))


async def test_key_without_payloads_reads_everything_else(either_app: App) -> None:
    app = either_app
    family = await make_run_family(app)
    await app.database.write(mark)
    made = await app.query(
        'mutation { it: createApiKey(name: "blind", role: ADMIN, payloads: false) { ... on CreateApiKeySuccess {'
        " secret apiKey { payloads } } } }"
    )
    assert made["it"]["apiKey"]["payloads"] is False
    for type_name, ways in WAYS.items():
        for way in ways:
            names = [name for name in family.variables if f"${name}" in way]
            declared = f"query({', '.join(f'${name}: ID!' for name in names)})" if names else "query"
            fields = allowed(type_name)
            body = await app.execute(
                f"{declared} {{ {way.replace('%s', fields)} }}", family.variables, key=made["it"]["secret"]
            )
            if type_name in ("LogLine", "RunFile", "LogLineConnection"):
                assert body["errors"][0]["extensions"]["code"] == "FORBIDDEN"
                continue
            assert "errors" not in body, (way, body["errors"])
            assert MARK not in str(body), way
    # A compiled read, and the general path.
    for others in ("", "viewer { payloads }"):
        document = (
            f"query ($payloads: Boolean!) {{ {others} flowRuns {{ nodes {{ id summary @include(if: $payloads) }} }} }}"
        )
        body = await app.execute(document, {"payloads": False}, key=made["it"]["secret"])
        assert body["data"]["flowRuns"]["nodes"][0].keys() == {"id"}
        assert body["data"].get("viewer", {"payloads": False}) == {"payloads": False}
        refused = await app.execute(document, {"payloads": True}, key=made["it"]["secret"])
        assert refused["errors"][0]["extensions"]["code"] == "FORBIDDEN"
