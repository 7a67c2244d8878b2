"""What a document may ask for, and that a greedy one is refused before it costs anything."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from graphql import OperationDefinitionNode, get_introspection_query, parse, specified_rules, validate

from domain.errors import QueryTooComplexError
from schema.build import build_schema
from schema.cost import MAX_DEPTH, MAX_FIELDS, SCAN_COST, RepeatedNames, _CostCalculator, check, signature
from tests.support.app import App, statements

TOO_MUCH, FAULTY = "QUERY_TOO_COMPLEX", "BAD_REQUEST"


def chain(levels: int) -> str:
    """A query of that many levels."""
    return "{ flowRuns(first: 1) { nodes " + "{ parentRun " * (levels - 3) + "{ id }" + " }" * (levels - 3) + " } }"


def fragments(number: int, spread: Callable[[int], str], leaf: str = "{ id }") -> str:
    """Returns this many fragments on FlowRun, each of which spreads the one before."""
    names = [f"fragment f0 on FlowRun {leaf}"]
    return " ".join(names + [f"fragment f{n} on FlowRun {{ {spread(n - 1)} }}" for n in range(1, number)])


def twice(name: str) -> Callable[[int], str]:
    return lambda n: f"a{n}: {name} {{ ...f{n} }} b{n}: {name} {{ ...f{n} }}"


FRAGMENTS = (
    "{ flowRuns(first: 1000) { nodes { "
    + " ".join(f"...f{n}" for n in range(100))
    + " } } } "
    + " ".join(f"fragment f{n} on FlowRun {{ id __typename flow {{ name }} }}" for n in range(100))
)
"""What a compiler of fragments makes of 100 components: they cost as much as one, since their fields are merged."""
GREEDY = {
    "deep": (chain(MAX_DEPTH + 1), TOO_MUCH),
    "repeated far below": (chain(60).replace("{ id }", "{ " + "id " * 500 + "}"), TOO_MUCH),
    "deep beyond parsing": (chain(500), FAULTY),
    "deep list": ("{ flowRuns(filter: {metadata: {a: " + "[" * 600 + "]" * 600 + "}}) { totalCount } }", FAULTY),
    "long": ("{ " + "viewer { role } " * 1_100 + "}", FAULTY),
    "wide": ("{ viewer { " + " ".join(f"a{n}: role" for n in range(1_300)) + " } }", None),
    "aliases of pages": (
        "{ " + " ".join(f"a{n}: flowRuns(first: 1000) {{ nodes {{ id tags status }} }}" for n in range(170)) + " }",
        TOO_MUCH,
    ),
    "one field many times": ("{ " + "viewer { role } " * 400 + "}", TOO_MUCH),
    "one field in many fragments": (FRAGMENTS, None),
    "one field often below many": ("{ " + " ".join(f"viewer {{ a{n}: role }}" for n in range(400)) + " }", TOO_MUCH),
    "pages of pages": ("{ flowRuns(first: 1000) { nodes { childRuns(first: 1000) { nodes { id } } } } }", TOO_MUCH),
    "pages backward": ("{ flowRuns(last: 1000) { nodes { retries(last: 1000) { nodes { id } } } } }", TOO_MUCH),
    "default pages": ("{ flowRuns { nodes { childRuns { nodes { childRuns { nodes { id } } } } } } }", TOO_MUCH),
    "doubling fragments": (f"{{ flowRuns {{ nodes {{ ...f13 }} }} }} {fragments(14, twice('parentRun'))}", TOO_MUCH),
    "doubling spreads": (
        f"{{ flowRuns {{ nodes {{ ...f59 }} }} }} {fragments(60, lambda n: f'...f{n} ...f{n}')}",
        None,
    ),
    "cycle": ("{ flowRuns { nodes { ...a } } } fragment a on FlowRun { ...b } fragment b on FlowRun { ...a }", FAULTY),
    "cycle below": ("{ flowRuns { nodes { ...a } } } fragment a on FlowRun { parentRun { ...a } }", TOO_MUCH),
    "aliases of statistics": ("{ " + " ".join(f"a{n}: flowRunStats {{ total }}" for n in range(25)) + " }", TOO_MUCH),
    "charts": (
        "{ flowRunStats { " + " ".join(f"a{n}: timeBuckets {{ byStatus {{ count }} }}" for n in range(25)) + " } }",
        TOO_MUCH,
    ),
    "pages of schedules": (
        "{ flows(first: 1000) { nodes { schedules { runs { nodes { id } } } } } }",
        TOO_MUCH,
    ),
    "introspection nested": ("{ __schema { " + "types { fields { type { " * 3 + "name" + " } } }" * 3 + " } }", FAULTY),
    "introspection repeated": (
        "{ " + " ".join(f"a{n}: __schema {{ types {{ fields {{ args {{ name }} }} }} }}" for n in range(200)) + " }",
        TOO_MUCH,
    ),
    "number without end": ("{ flowRuns(first: " + "9" * 5_000 + ") { totalCount } }", FAULTY),
}  # fmt: skip


@pytest.mark.parametrize("name", GREEDY)
@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_greedy_document_is_refused_before_anything_is_read(idle_app: App, name: str) -> None:
    text, code = GREEDY[name]
    with statements() as executed:
        body = await idle_app.execute(text)
    if code is None:
        assert "errors" not in body
    else:
        assert body["errors"][0]["extensions"]["code"] == code
        assert "data" not in body
        assert executed.of_resolvers == []


def refused(text: str, **variables: Any) -> bool:
    try:
        check(parse(text), None, variables)
    except QueryTooComplexError:
        return True
    return False


NESTED = "query($n: Int{default}) {{ flowRuns(first: $n) {{ nodes {{ childRuns(first: $n) {{ nodes {{ id }} }} }} }} }}"


def test_sizes_in_variables_count() -> None:
    text = NESTED.format(default="")
    assert refused(text, n=1_000)
    assert not refused(text, n=10)
    assert not refused(text, n=None)
    assert not refused(text)
    assert refused(text, n=10**9)
    assert not refused(text, n="ten")


def test_defaults_of_variables_count_unless_they_are_given() -> None:
    text = NESTED.format(default=" = 1000")
    assert refused(text)
    assert not refused(text, n=10)
    assert not refused(text, n=None)


def test_filters_in_filters_and_conditions_on_metadata_count() -> None:
    lists = " ".join(f"a{number}: flowRuns(filter: $where) {{ totalCount }}" for number in range(25))
    text = f"query($where: FlowRunFilter) {{ {lists} }}"
    half = [{"tags": ["x"]}] * 25
    assert refused(text, where={"or": half * 2})
    assert refused(text, where={"not": {"or": [*half, {"or": half}]}})
    assert refused(text, where={"metadataConditions": [{"path": "a", "exists": True}] * 50})
    assert not refused(text, where={"or": half})
    assert not refused(text, where={"or": {"tags": "x"}, "not": None, "metadataConditions": None})
    literal = (
        "{ " + " ".join(f"a{n}: flowRuns(filter: {{not: $w, or: [$w, {{not: $w}}]}}) {{ x }}" for n in range(8)) + " }"
    )
    assert refused(literal, w={"or": half * 2})
    assert not refused(literal, w={"tags": ["x"]})


def test_ids_given_to_nodes_count() -> None:
    text = "query($ids: [ID!]!) { nodes(ids: $ids) { ... on FlowRun { childRuns(first: 1000) { nodes { id } } } } }"
    assert refused(text, ids=["x"] * 1_000)
    assert not refused(text, ids=["x"])
    assert refused(text.replace("$ids)", str(["x"] * 600).replace("'", '"') + ")"))


def test_the_operation_that_is_asked_for_counts_alone() -> None:
    document = parse(
        "query Big " + NESTED.format(default="").removeprefix("query") + " query Small { viewer { role } }"
    )
    check(document, "Small", {"n": 1_000})
    with pytest.raises(QueryTooComplexError):
        check(document, "Big", {"n": 1_000})


def test_depth_is_allowed_up_to_its_limit() -> None:
    assert not refused(chain(MAX_DEPTH))
    assert refused(chain(MAX_DEPTH + 1))


def test_fields_are_counted_wherever_fragments_are_spread() -> None:
    text = "{ " + " ".join(f"a{n}: viewer {{ ...f }}" for n in range(MAX_FIELDS // 4 + 1)) + " }"
    text += " fragment f on Viewer { role keyName x: role }"
    assert refused(text)
    assert not refused(text.replace("role keyName x: role", "role"))


def test_the_explorers_introspection_is_within_the_limits() -> None:
    document = parse(get_introspection_query(input_value_deprecation=True, specified_by_url=True))
    check(document, None, {})
    assert validate(build_schema()._schema, document, [*specified_rules, RepeatedNames]) == []


async def test_a_page_of_a_thousand_runs_with_their_steps_is_within_the_limits(idle_app: App) -> None:
    fields = "id status tags metadata input output createdAt startedAt finishedAt durationMs flow { id name }"
    await idle_app.query(f"{{ flowRuns(first: 1000) {{ nodes {{ {fields} steps {{ name status output }} }} }} }}")


async def test_a_dashboard_is_within_the_limits(idle_app: App) -> None:
    counts = "byStatus { status count }"
    text = f"""{{ flowRunStats {{ at total {counts} durations {{ count p50Ms p95Ms p99Ms }}
        hours: timeBuckets(size: HOUR) {{ start end total {counts} }}
        days: timeBuckets(size: DAY) {{ start end total {counts} }}
        topFailingSteps(first: 100) {{ stepName count flow {{ id name }}
            errors(first: 20) {{ fingerprint message count lastSeenAt sampleRun {{ id status }} }} }} }} }}"""
    await idle_app.query(text)


SIZED = """query($first: Int, $ids: [ID!]!, $where: FlowRunFilter, $parts: [FlowRunFilter!], $one: FlowRunFilter) {
    flowRuns(first: $first, filter: $where) { nodes { id } }
    flowRunStats(filter: {or: $parts, not: $one}) { total }
    nodes(ids: $ids) { id } }"""
PARTS: list[Any] = [
    None,
    {},
    {"not": {"tags": ["a"]}},
    {"not": {"not": {}}},
    {"or": [{}, {"or": [{}]}]},
    {"metadataConditions": [{"path": "a"}]},
    "nonsense",
]


def test_variables_with_equal_signatures_cost_the_same() -> None:
    document = parse(SIZED)
    (operation,) = document.definitions
    assert isinstance(operation, OperationDefinitionNode)
    costs: dict[object, set[int]] = {}
    pools: dict[str, list[Any]] = {
        "first": [None, 1, 7, "7"],
        "ids": [[], ["a"], ["b"], ["a", "b"], "a"],
        "where": PARTS,
        "parts": [*PARTS, [], [{}], PARTS],
        "one": PARTS,
    }
    for values in product(*pools.values()):
        variables = dict(zip(pools, values, strict=True))
        cost = _CostCalculator({}, variables).cost([operation.selection_set], depth=1, scan=SCAN_COST)
        costs.setdefault(signature(variables), set()).add(cost)
    assert all(len(found) == 1 for found in costs.values())
    assert len({cost for found in costs.values() for cost in found}) > 100
