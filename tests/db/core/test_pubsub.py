import pytest

from db.core.pubsub import PubSub


def test_publish_wakes_only_subscribers_of_topic() -> None:
    pubsub = PubSub()
    with pubsub.subscribe("a") as one, pubsub.subscribe("a") as two, pubsub.subscribe("b") as other:
        pubsub.publish(["a", "other"])
        assert one.is_set()
        assert two.is_set()
        assert not other.is_set()


def test_publish_does_not_wake_removed_subscriber() -> None:
    pubsub = PubSub()
    with pubsub.subscribe("a") as kept:
        with pubsub.subscribe("a") as removed:
            pass
        pubsub.publish(["a"])
        assert kept.is_set()
        assert not removed.is_set()


def test_topic_without_subscribers_is_forgotten() -> None:
    pubsub = PubSub()
    with pubsub.subscribe(("run", 1)):
        pubsub.publish([("run", 1), ("run", 2)])
    pubsub.publish([("run", 1)])
    assert not pubsub._subscribers


def test_failed_subscriber_is_removed() -> None:
    pubsub = PubSub()
    with pytest.raises(ZeroDivisionError), pubsub.subscribe("a"):
        _ = 1 / 0
    assert not pubsub._subscribers
