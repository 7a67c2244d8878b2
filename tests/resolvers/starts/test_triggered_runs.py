"""The runs of schedules and webhooks: `Schedule.runs` and `Webhook.runs`."""

from typing import Any

from domain.enums import RunStatus
from domain.time import clock
from tests.support.app import App, statements
from tests.support.run_family import make_flow, make_runs

DEFINITION = {"steps": [{"name": "a", "kind": "transform", "input": 1}]}
SCHEDULE = """mutation($flow: ID!) { result: createSchedule(input: {flowId: $flow, cron: "@daily"}) {
    ... on CreateScheduleSuccess { schedule { id } } } }"""
WEBHOOK = """mutation($flow: ID!) { result: createWebhook(flowId: $flow, name: "hook") {
    ... on CreateWebhookSuccess { webhook { id } } } }"""
RUNS = """runs(first: $first, after: $after, last: $last, before: $before) {
    totalCount edges { cursor node { id } } pageInfo { hasNextPage hasPreviousPage } }"""
PAGE = f"""query($flow: ID!, $first: Int, $after: String, $last: Int, $before: String) {{ flow(id: $flow) {{
    schedules {{ id {RUNS} }} webhooks {{ id {RUNS} }} }} }}"""


async def triggers(app: App, count: int) -> tuple[str, dict[str, list[str]]]:
    """Makes a flow with so many schedules and webhooks; returns it, and the runs of each, newest first."""
    flow = await app.create_flow(DEFINITION)
    names = []
    for _ in range(count):
        names.append((await app.query(SCHEDULE, {"flow": flow}))["result"]["schedule"]["id"])
        names.append((await app.query(WEBHOOK, {"flow": flow}))["result"]["webhook"]["id"])
    published = await make_flow(app, "runs")
    runs: dict[str, list[str]] = {}
    for number, name in enumerate(names):
        keys = await make_runs(app, published, *[{"source": name}] * (number + 1))
        await make_runs(app, published, {"source": name, "archived_at": clock.now(), "status": RunStatus.FAILED})
        runs[name] = keys[::-1]
    # The same words in another project name nothing there.
    foreign = await make_flow(app, "foreign", project=app.other_project)
    await make_runs(app, foreign, *({"source": name} for name in names))
    return flow, runs


async def pages(app: App, flow: str, **variables: Any) -> dict[str, Any]:
    found = (await app.query(PAGE, {"flow": flow, **variables}))["flow"]
    return {trigger["id"]: trigger["runs"] for trigger in [*found["schedules"], *found["webhooks"]]}


def ids_of(page: Any) -> list[str]:
    return [edge["node"]["id"] for edge in page["edges"]]


async def test_triggers_list_their_runs_newest_first(idle_app: App) -> None:
    flow, runs = await triggers(idle_app, 2)
    for size in (1, 2, 100):
        for name, page in (await pages(idle_app, flow, first=size)).items():
            assert ids_of(page) == runs[name][:size]
            assert page["totalCount"] == len(runs[name])
            assert page["pageInfo"] == {"hasNextPage": len(runs[name]) > size, "hasPreviousPage": False}
        for name, page in (await pages(idle_app, flow, last=size)).items():
            assert ids_of(page) == runs[name][-size:]
            assert page["pageInfo"] == {"hasNextPage": False, "hasPreviousPage": len(runs[name]) > size}


async def test_runs_of_a_trigger_are_paged_by_cursors(idle_app: App) -> None:
    flow, runs = await triggers(idle_app, 2)
    name = list(runs)[-1]
    cursor = (await pages(idle_app, flow, first=2))[name]["edges"][1]["cursor"]
    after = (await pages(idle_app, flow, first=1, after=cursor))[name]
    assert (ids_of(after), after["pageInfo"]) == (runs[name][2:3], {"hasNextPage": True, "hasPreviousPage": True})
    before = (await pages(idle_app, flow, last=5, before=cursor))[name]
    assert (ids_of(before), before["pageInfo"]) == (runs[name][:1], {"hasNextPage": True, "hasPreviousPage": False})


async def test_filter_finds_the_same_runs(idle_app: App) -> None:
    _, runs = await triggers(idle_app, 1)
    schedule, webhook = runs
    text = "query($filter: FlowRunFilter) { flowRuns(filter: $filter) { nodes { id } } }"
    for where, expected in (
        ({"scheduleIds": [schedule]}, runs[schedule]),
        ({"webhookIds": [webhook]}, runs[webhook]),
        ({"sources": [schedule, webhook]}, [*runs[webhook], *runs[schedule]]),
        ({"scheduleIds": [schedule], "webhookIds": [webhook]}, []),
    ):
        nodes = (await idle_app.query(text, {"filter": where}))["flowRuns"]["nodes"]
        assert [node["id"] for node in nodes] == expected


async def test_number_of_statements_does_not_depend_on_the_triggers(idle_app: App) -> None:
    flow, _ = await triggers(idle_app, 3)
    with statements() as executed:
        await pages(idle_app, flow, first=1)
    # The flow, its schedules, its webhooks; and for each kind of trigger, the pages and the counts.
    assert len(executed.of_resolvers) <= 7
