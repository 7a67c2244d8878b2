import asyncio
from contextvars import Context

from domain.log_context import add_log_fields, current_log_fields, log_fields


def test_fields_last_as_long_as_their_block() -> None:
    assert current_log_fields() == {}
    with log_fields(run_id="run_1"):
        with log_fields(step="a", run_id="run_2"):
            assert current_log_fields() == {"run_id": "run_2", "step": "a"}
        assert current_log_fields() == {"run_id": "run_1"}
    assert current_log_fields() == {}


async def test_task_inherits_fields_and_keeps_its_own() -> None:
    async def work(name: str) -> dict[str, object]:
        add_log_fields(name=name)
        await asyncio.sleep(0)
        return dict(current_log_fields())

    with log_fields(request_id="r"):
        results = list(await asyncio.gather(work("a"), work("b")))
    assert results == [{"request_id": "r", "name": "a"}, {"request_id": "r", "name": "b"}]
    assert current_log_fields() == {}


async def test_thread_inherits_fields() -> None:
    with log_fields(run_id="run_1"):
        assert await asyncio.to_thread(current_log_fields) == {"run_id": "run_1"}


async def test_task_with_an_empty_context_has_no_fields() -> None:
    async def work() -> dict[str, object]:
        return dict(current_log_fields())

    with log_fields(request_id="r"):
        assert await asyncio.create_task(work(), context=Context()) == {}
