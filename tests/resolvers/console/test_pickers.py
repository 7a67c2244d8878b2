"""`pickers`: the values of a filter bar."""

from collections.abc import Mapping
from typing import Any

import pytest

from db.runs.statistics import pickers
from domain.enums import RunStatus
from tests.support.app import App
from tests.support.clock import START
from tests.support.factory import PublishedFlow
from tests.support.run_family import make_flow, make_runs

FAILED = {"status": RunStatus.FAILED, "error_code": "HTTP_ERROR", "error_message": "it failed"}


@pytest.fixture
async def published(idle_app: App) -> PublishedFlow:
    """A flow with tagged runs, failed runs, an archived run and one of another project."""
    published = await make_flow(idle_app)
    await make_runs(
        idle_app,
        published,
        {
            "tags": ["Customer:1", "red"],
            "source": "shop",
            "metadata": '{"customer": {"id": 7, "vip": true}, "n": null}',
        },
        {"tags": ["customer:2", "red"], "source": "shop", "metadata": '{"customer": {"id": "7"}, "a.b": 1}'},
        {"tags": ["50%_off"], "source": "Mail", "metadata": '{"customer": "none", "lines": [{"sku": 7}]}'},
        {**FAILED, "failed_step_name": "charge"},
        {**FAILED, "failed_step_name": "charge", "error_code": "TIMEOUT"},
        {**FAILED, "failed_step_name": "Mail", "tags": ["red"]},
        {"tags": ["old"], "archived_at": START},
    )
    other = await make_flow(idle_app, "other", project=idle_app.other_project)
    await make_runs(idle_app, other, {"tags": ["red", "theirs"]})
    return published


async def picked(app: App, field: str, where: Mapping[str, Any] | None = None, **more: Any) -> Any:
    text = (
        f"query($f: FlowRunFilter) {{ pickers(filter: $f) {{ list: {field} {{ values {{ value count }} isExact }} }} }}"
    )
    found = (await app.query(text, {"f": where}, **more))["pickers"]["list"]
    assert found["isExact"]
    return [(each["value"], each["count"]) for each in found["values"]]


async def test_values_have_counts_and_are_found_by_prefix(idle_app: App, published: PublishedFlow) -> None:
    assert await picked(idle_app, "tags(first: 2)") == [("red", 3), ("50%_off", 1)]
    # Case does not matter, and no character is a wildcard.
    assert await picked(idle_app, 'tags(prefix: "customer:")') == [("Customer:1", 1), ("customer:2", 1)]
    assert await picked(idle_app, 'tags(prefix: "5")') == [("50%_off", 1)]
    assert await picked(idle_app, 'tags(prefix: "%")') == await picked(idle_app, 'tags(prefix: "_")') == []
    assert await picked(idle_app, "failedSteps") == [("charge", 2), ("Mail", 1)]
    assert await picked(idle_app, 'failedSteps(prefix: "MA")') == [("Mail", 1)]
    assert await picked(idle_app, "failedSteps", {"tags": ["red"]}) == [("Mail", 1)]
    assert await picked(idle_app, "errorCodes") == [("HTTP_ERROR", 2), ("TIMEOUT", 1)]
    assert await picked(idle_app, "sources") == [("shop", 2), ("Mail", 1)]
    assert await picked(idle_app, "metadataKeys") == [("customer", 3), ("a.b", 1), ("lines", 1), ("n", 1)]
    assert await picked(idle_app, 'metadataKeys(path: "customer")') == [("id", 2), ("vip", 1)]
    assert await picked(idle_app, 'metadataKeys(path: "customer.id")') == []
    values = await picked(idle_app, 'metadataValues(path: "customer.id")')
    assert sorted(values, key=str) == [("7", 1), (7, 1)]
    assert await picked(idle_app, 'metadataValues(path: "customer.vip")') == [(True, 1)]
    assert await picked(idle_app, 'metadataValues(path: "a\\\\.b")') == [(1, 1)]
    assert await picked(idle_app, 'metadataValues(path: "n")') == []
    assert await picked(idle_app, 'metadataValues(path: "customer", prefix: "No")') == [("none", 1)]
    assert await picked(idle_app, 'metadataValues(path: "customer.vip", prefix: "TR")') == [(True, 1)]
    assert await picked(idle_app, 'metadataValues(path: "customer.vip", prefix: "1")') == []
    # A path leads through objects alone, as in a filter.
    assert await picked(idle_app, 'metadataKeys(path: "lines.0")') == []
    assert await picked(idle_app, 'metadataValues(path: "lines.0.sku")') == []


async def test_only_runs_that_the_viewer_sees_are_counted(idle_app: App, published: PublishedFlow) -> None:
    keys = idle_app.keys
    assert await picked(idle_app, 'tags(prefix: "o")') == []
    assert await picked(idle_app, 'tags(prefix: "o")', {"archived": "ONLY"}) == [("old", 1)]
    assert await picked(idle_app, "tags", key=keys.other_viewer) == [("red", 1), ("theirs", 1)]
    assert (await picked(idle_app, "tags(first: 1)", key=keys.all_projects)) == [("red", 4)]
    text = """mutation { createAccessToken(filter: {tags: ["customer:2"]}) {
        ... on CreateAccessTokenSuccess { token } ... on UserError { code } } }"""
    token = (await idle_app.query(text))["createAccessToken"]["token"]
    assert await picked(idle_app, "tags", key=token) == [("customer:2", 1), ("red", 1)]
    assert await picked(idle_app, "failedSteps", key=token) == []
    hidden = "{ pickers { sources { isExact } } }"
    assert await idle_app.error_code(hidden, key=token) == "FORBIDDEN"


async def test_lists_are_bounded_and_say_so(
    idle_app: App, published: PublishedFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pickers, "SAMPLE", 2)
    text = """{ pickers { tags { isExact values { value count } } sources { isExact }
        failedSteps { isExact } errorCodes { isExact values { value count } } } }"""
    found = (await idle_app.query(text))["pickers"]
    assert found["tags"] == {"isExact": False, "values": [{"value": "red", "count": 1}]}
    assert found["sources"]["isExact"] is found["errorCodes"]["isExact"] is False
    assert found["failedSteps"]["isExact"]  # by the kept counts
    for field in (
        "tags(first: 0)",
        "tags(first: 101)",
        'tags(prefix: "\\u0000")',
        f'metadataKeys(path: "{"a." * 60}")',
    ):
        assert await idle_app.error_code(f"{{ pickers {{ {field} {{ isExact }} }} }}") == "INVALID_ARGUMENT"


async def test_runs_without_an_error_do_not_displace_those_with_one(
    idle_app: App, published: PublishedFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_runs(idle_app, published, *[{"status": RunStatus.STOPPED}] * 4)
    monkeypatch.setattr(pickers, "SAMPLE", 3)
    expected = [("HTTP_ERROR", 2), ("TIMEOUT", 1)]
    for where in ({}, {"unrecovered": True}, {"statuses": ["FAILED"]}, {"environments": ["PRODUCTION"]}):
        assert await picked(idle_app, "errorCodes", where) == expected
    assert await picked(idle_app, "errorCodes", {"failedStepName": "charge"}) == [("HTTP_ERROR", 1), ("TIMEOUT", 1)]
