"""The demo flows work."""

from service.demo import FLOWS
from tests.support.app import App

RETRY = """mutation($id: ID!) { retry(runId: $id, strategy: FROM_FAILED_STEP) {
    ... on RetrySuccess { run { id } } ... on UserError { message } } }"""


async def test_hello_greets(app: App) -> None:
    flow = await app.create_flow(FLOWS["hello"])
    answer = await app.start(flow, input={"name": "Ada"}, waitMs=60_000, select="output")
    assert answer["run"]["output"] == {"greeting": "Hello, Ada!", "letters": 11}
    assert (await app.start(flow, waitMs=60_000, select="output"))["run"]["output"]["greeting"] == "Hello, world!"
    assert (await app.start(flow, input={"name": 5}))["code"] == "INPUT_INVALID"


async def test_flaky_checkout_fails_and_succeeds_when_retried_from_its_failed_step(app: App) -> None:
    flow = await app.create_flow(FLOWS["flaky-checkout"])
    cart = [{"name": "Tea", "price": 4.5}, {"name": "Cup", "price": 8}]
    run = (await app.start(flow, input={"cart": cart}))["run"]["id"]
    assert await app.wait_until_final(
        run, "status failedStepName error { code } steps { name attempts { number } }"
    ) == {
        "status": "FAILED",
        "failedStepName": "charge",
        "error": {"code": "PROVIDER_DOWN"},
        "steps": [
            {"name": "cart", "attempts": [{"number": 1}]},
            {"name": "total", "attempts": [{"number": 1}]},
            {"name": "charge", "attempts": [{"number": 1}, {"number": 2}]},
        ],
    }
    again = (await app.query(RETRY, {"id": run}))["retry"]["run"]["id"]
    assert await app.wait_until_final(again, "status output") == {
        "status": "SUCCEEDED",
        "output": "Thank you! 12.5 charged, rcpt-0002.",
    }
