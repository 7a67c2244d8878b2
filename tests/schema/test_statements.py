"""Statements of queries in the general way: as many for any number of rows, which read only selected columns."""

import pytest

from tests.support.app import App, statements
from tests.support.run_family import make_run_families, make_run_family

EVERY_EDGE = """query($first: Int!) { flowRuns(first: $first, filter: {statuses: FAILED}) {
    totalCount
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    nodes {
        id
        project { name } flow { name publishedVersion { number } project { name } } flowVersion { number flow { name } }
        steps { name attempts { number } reusedFrom { id } run { id } }
        step(name: "b") { output } failedStep { error { code } }
        stepsCount statusHistory { message } retryability { allowed reusedSteps }
        retryOf { id } retries { totalCount nodes { id } pageInfo { hasNextPage hasPreviousPage } }
        childRuns { totalCount edges { cursor node { id } } pageInfo { hasNextPage hasPreviousPage } }
        parentRun { status } rootRun { status } recoveredBy { output }
    } } }"""
PAYLOADS = ("input", "output", "metadata", "definition")


async def cost(app: App, text: str, **variables: object) -> list[str]:
    with statements() as executed:
        await app.query(text, variables)
    return executed.of_resolvers


async def test_statement_count_is_the_same_for_5_and_50_runs(general_app: App) -> None:
    await make_run_families(general_app, 50)
    few = await cost(general_app, EVERY_EDGE, first=5)
    many = await cost(general_app, EVERY_EDGE, first=50)
    assert len(few) == len(many)
    assert len(many) <= 26


async def test_page_with_flow_steps_and_history_is_four_statements(general_app: App) -> None:
    await make_run_families(general_app, 3)
    text = "{ flowRuns { nodes { id status flow { name } steps { name status } statusHistory { to at } } } }"
    assert len(await cost(general_app, text)) == 4


async def test_retryability_of_a_page_reads_the_definitions_once(general_app: App) -> None:
    await make_run_families(general_app, 5)
    text = "{ flowRuns { nodes { retryability { rerunStepNames } rerunnability { rerunStepNames } } } }"
    executed = await cost(general_app, text)
    assert [statement for statement in executed if any(f".{name}" in statement for name in PAYLOADS)] == [
        statement for statement in executed if "flow_version.definition" in statement
    ]
    assert len([statement for statement in executed if "flow_version.definition" in statement]) == 1


@pytest.mark.parametrize(
    "text",
    [
        "{ flowRuns { nodes { id tags error { message } durationMs flow { name publishedVersion { number } } } } }",
        "{ flowRuns { nodes { steps { name attempts { number } } statusHistory { to } } } }",
        "{ flows { nodes { name enabled publishedVersion { number stepCount } } } }",
        "query($failed: ID!) { flowRun(id: $failed) { status retries { nodes { id } } failedStep { name kind } } }",
    ],
)
async def test_payloads_are_not_read_unless_selected(general_app: App, text: str) -> None:
    family = await make_run_family(general_app)
    with statements() as executed:
        await general_app.query(text, {"failed": family.failed})
    assert executed.of_resolvers
    for statement in executed.of_resolvers:
        assert [name for name in PAYLOADS if f".{name}" in statement] == []


@pytest.mark.parametrize("name", ["input", "output", "metadata"])
async def test_only_selected_payload_is_read(general_app: App, name: str) -> None:
    await make_run_family(general_app)
    (statement,) = await cost(general_app, f"{{ flowRuns {{ nodes {{ {name} }} }} }}")
    assert [each for each in PAYLOADS if f".{each}" in statement] == [name]


async def test_only_columns_of_selected_fields_are_read(general_app: App) -> None:
    await make_run_family(general_app)
    (statement,) = await cost(general_app, "{ flowRuns { nodes { id status } } }")
    columns = statement.partition("FROM")[0].removeprefix("SELECT ")
    assert {column.strip() for column in columns.split(",")} == {"flow_run.id", "flow_run.status"}


@pytest.mark.parametrize(
    ("field", "filter_of_runs", "counted"),
    [
        ("flowRuns", "", "run_rollup"),
        ("flowRuns", '(filter: {errorContains: "a"})', "count("),
        ("flows", "", "count("),
    ],
)
async def test_total_count_alone_reads_no_rows(general_app: App, field: str, filter_of_runs: str, counted: str) -> None:
    await make_run_family(general_app)
    (page,) = await cost(general_app, f"{{ {field} {{ nodes {{ id }} }} }}")
    (total,) = await cost(general_app, f"{{ {field}{filter_of_runs} {{ totalCount }} }}")
    assert counted not in page
    assert counted in total


async def test_skipped_fields_read_nothing(general_app: App) -> None:
    family = await make_run_family(general_app)
    text = "query($id: ID!, $more: Boolean!) { flowRun(id: $id) { id steps @include(if: $more) { name } } }"
    assert len(await cost(general_app, text, id=family.failed, more=False)) == 1
    assert len(await cost(general_app, text, id=family.failed, more=True)) == 2
