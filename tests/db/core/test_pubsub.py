import pytest

from db.core.pubsub import PubSub


def test_everybody_who_listens_to_a_topic_is_woken_and_nobody_else() -> None:
    signals = PubSub()
    with signals.listen("a") as one, signals.listen("a") as two, signals.listen("b") as other:
        signals.send(["a", "unheard"])
        assert one.is_set()
        assert two.is_set()
        assert not other.is_set()


def test_who_stopped_listening_is_not_woken() -> None:
    signals = PubSub()
    with signals.listen("a") as stays:
        with signals.listen("a") as goes:
            pass
        signals.send(["a"])
        assert stays.is_set()
        assert not goes.is_set()


def test_nothing_is_kept_of_topics_that_nobody_listens_to() -> None:
    signals = PubSub()
    with signals.listen(("run", 1)):
        signals.send([("run", 1), ("run", 2)])
    signals.send([("run", 1)])
    assert not signals._listeners


def test_a_listener_that_fails_stops_listening() -> None:
    signals = PubSub()
    with pytest.raises(ZeroDivisionError), signals.listen("a"):
        _ = 1 / 0
    assert not signals._listeners
