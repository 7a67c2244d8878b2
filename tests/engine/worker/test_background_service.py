"""The loop that background services share: turns, wake-ups, back-off and stopping."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from db.core.pubsub import PubSub
from domain.errors import DatabaseUnavailableError
from domain.time import clock
from engine.worker.background_service import BackgroundService
from tests.support.clock import START, FakeClock

TOPIC = "topic"


class Service(BackgroundService):
    """Notes when its turns start; each turn calls `turn`."""

    def __init__(
        self, turn: Callable[[], Awaitable[float]], pubsub: PubSub | None = None, interval: float = 10
    ) -> None:
        super().__init__("test service", interval, pubsub, TOPIC)
        self.turns: list[float] = []
        self.is_shut_down = False
        self._turn = turn

    async def work(self) -> float:
        self.turns.append((clock.now() - START).total_seconds())
        return await self._turn()

    async def shut_down(self) -> None:
        self.is_shut_down = True


async def rest_4_seconds() -> float:
    return 4


async def rest_for_ever() -> float:
    return 1e9


@asynccontextmanager
async def running(service: Service, fake_clock: FakeClock) -> AsyncIterator[None]:
    task = asyncio.create_task(service.run())
    await fake_clock.settle()
    yield
    service.stop()
    await fake_clock.drive(task)


async def test_turns_follow_each_other_when_they_are_due(fake_clock: FakeClock) -> None:
    service = Service(rest_4_seconds)
    async with running(service, fake_clock):
        await fake_clock.advance(9)
    assert service.turns == [0, 4, 8]


async def test_interval_is_the_longest_pause(fake_clock: FakeClock) -> None:
    service = Service(rest_for_ever)
    async with running(service, fake_clock):
        await fake_clock.advance(25)
    assert service.turns == [0, 10, 20]


async def test_message_on_the_topic_starts_a_turn_at_once(fake_clock: FakeClock) -> None:
    pubsub = PubSub()
    service = Service(rest_for_ever, pubsub)
    async with running(service, fake_clock):
        await fake_clock.advance(3)
        pubsub.publish([TOPIC])
        await fake_clock.settle()
    assert service.turns == [0, 3]


async def test_wake_starts_a_turn_at_once_without_a_topic(fake_clock: FakeClock) -> None:
    service = Service(rest_for_ever)
    async with running(service, fake_clock):
        await fake_clock.advance(3)
        service.wake()
        await fake_clock.settle()
    assert service.turns == [0, 3]


async def test_wake_up_during_a_turn_starts_another_turn(fake_clock: FakeClock) -> None:
    async def work_for_2_seconds() -> float:
        await clock.sleep(2)
        return 1e9

    service = Service(work_for_2_seconds)
    async with running(service, fake_clock):
        await fake_clock.advance(1)
        service.wake()
        await fake_clock.advance(4)
    assert service.turns == [0, 2]


@pytest.mark.parametrize(
    ("error", "event", "level"),
    [
        (DatabaseUnavailableError(), "database unavailable", logging.WARNING),
        (ZeroDivisionError(), "background service failed", logging.ERROR),
    ],
)
async def test_failures_back_off_up_to_the_interval_and_are_logged(
    fake_clock: FakeClock, caplog: pytest.LogCaptureFixture, error: Exception, event: str, level: int
) -> None:
    failures = 6

    async def fail_six_times() -> float:
        if len(service.turns) <= failures:
            raise error
        return 1e9

    service = Service(fail_six_times)
    async with running(service, fake_clock):
        await fake_clock.advance(44)
    assert service.turns == [0, 1, 3, 7, 15, 25, 35]
    assert {(record.message, record.levelno) for record in caplog.records} == {(event, level)}
    assert [vars(record)["service"] for record in caplog.records] == ["test service"] * failures
    assert [vars(record)["retry_in_seconds"] for record in caplog.records] == [1, 2, 4, 8, 10, 10]


async def test_back_off_starts_from_the_beginning_after_a_good_turn(fake_clock: FakeClock) -> None:
    async def fail_every_other_turn() -> float:
        if len(service.turns) % 2:
            raise DatabaseUnavailableError
        return 4

    service = Service(fail_every_other_turn)
    async with running(service, fake_clock):
        await fake_clock.advance(10)
    assert service.turns == [0, 1, 5, 6, 10]


async def test_wake_ups_do_not_shorten_a_back_off(fake_clock: FakeClock) -> None:
    async def fail() -> float:
        raise DatabaseUnavailableError

    service = Service(fail)
    async with running(service, fake_clock):
        for _ in range(3):
            service.wake()
            await fake_clock.settle()
        assert service.turns == [0]
        await fake_clock.advance(1)
    assert service.turns == [0, 1]


@pytest.mark.parametrize("error", [None, DatabaseUnavailableError()])
async def test_stop_ends_the_pause_at_once_and_shuts_down(fake_clock: FakeClock, error: Exception | None) -> None:
    async def turn() -> float:
        if error is not None:
            raise error
        return 1e9

    service = Service(turn)
    task = asyncio.create_task(service.run())
    await fake_clock.settle()
    service.stop()
    await fake_clock.settle()
    assert (task.done(), service.is_shut_down, service.turns) == (True, True, [0])


async def test_service_stopped_before_it_runs_does_no_work(fake_clock: FakeClock) -> None:
    service = Service(rest_for_ever)
    service.stop()
    await fake_clock.drive(service.run())
    assert (service.turns, service.is_shut_down) == ([], True)


async def test_failure_to_shut_down_is_logged(fake_clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    class Stubborn(Service):
        async def shut_down(self) -> None:
            raise DatabaseUnavailableError

    service = Stubborn(rest_for_ever)
    service.stop()
    await fake_clock.drive(service.run())
    assert [record.message for record in caplog.records] == ["background service not shut down"]
