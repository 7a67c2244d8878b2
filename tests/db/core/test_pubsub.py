import pytest

from db.core.pubsub import PubSub


def test_signal_wakes_only_listeners_of_topic() -> None:
    signals = PubSub()
    with signals.listen("a") as one, signals.listen("a") as two, signals.listen("b") as other:
        signals.send(["a", "unheard"])
        assert one.is_set()
        assert two.is_set()
        assert not other.is_set()


def test_signal_does_not_wake_removed_listener() -> None:
    signals = PubSub()
    with signals.listen("a") as stays:
        with signals.listen("a") as goes:
            pass
        signals.send(["a"])
        assert stays.is_set()
        assert not goes.is_set()


def test_topic_without_listeners_is_forgotten() -> None:
    signals = PubSub()
    with signals.listen(("run", 1)):
        signals.send([("run", 1), ("run", 2)])
    signals.send([("run", 1)])
    assert not signals._listeners


def test_failed_listener_is_removed() -> None:
    signals = PubSub()
    with pytest.raises(ZeroDivisionError), signals.listen("a"):
        _ = 1 / 0
    assert not signals._listeners
