import itertools
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import ids
from domain.errors import InvalidIdError
from domain.ids import IdKind
from domain.time import clock
from domain.time.clock import SystemClock

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MS = timedelta(milliseconds=1)
KEY = UUID("0193a5b4-c3d2-7e1f-8a9b-0c1d2e3f4a5b")


class HandClock(SystemClock):
    """A clock that shows the time it is set to."""

    def __init__(self) -> None:
        self.time = NOON

    def now(self) -> datetime:
        return self.time


@pytest.fixture
def hand_clock() -> Iterator[HandClock]:
    ids.follow_clock()
    hand = HandClock()
    previous = clock.set_clock(hand)
    yield hand
    clock.set_clock(previous)


def uuid7(ms: int, filler: int) -> UUID:
    """Returns the UUIDv7 of a millisecond with all its other bits taken from `filler`."""
    return UUID(int=ms << 80 | 0x7 << 76 | (filler >> 62 & 0xFFF) << 64 | 0b10 << 62 | filler & (1 << 62) - 1)


def test_new_uuids_have_version_7() -> None:
    key = ids.new_uuid()
    assert (key.version, key.variant) == (7, "specified in RFC 4122")


def test_ids_of_one_millisecond_sort_by_creation(hand_clock: HandClock) -> None:
    keys = [ids.new_uuid() for _ in range(10_000)]
    assert keys == sorted(set(keys))


def test_ids_of_many_threads_sort_by_creation(hand_clock: HandClock) -> None:
    order = itertools.count()

    def create(_: int) -> list[tuple[int, UUID, int]]:
        return [(next(order), ids.new_uuid(), next(order)) for _ in range(500)]

    with ThreadPoolExecutor(8) as threads:
        made = [each for batch in threads.map(create, range(8)) for each in batch]
    made.sort(key=lambda each: each[1])
    assert len({key for _, key, _ in made}) == 4_000
    # An ID that was created before another one was requested is smaller.
    first_end = made[-1][2]
    for begun, _, ended in reversed(made):
        first_end = min(first_end, ended)
        assert begun < first_end


@pytest.mark.parametrize("back", [MS, timedelta(seconds=9.999)])
def test_small_step_back_of_clock_keeps_order(hand_clock: HandClock, back: timedelta) -> None:
    before = ids.new_uuid()
    hand_clock.time -= back
    assert ids.new_uuid() > before


def test_large_step_back_of_clock_is_followed(hand_clock: HandClock) -> None:
    ids.new_uuid()
    hand_clock.time -= timedelta(seconds=10)
    assert ids.created_at(ids.new_uuid()) == hand_clock.time
    assert ids.new_uuid() < ids.new_uuid()


def test_key_contains_creation_time(hand_clock: HandClock) -> None:
    hand_clock.time = NOON + 1.999 * MS
    assert ids.created_at(ids.new_uuid()) == NOON + MS


@pytest.mark.parametrize("kind", IdKind)
def test_encoded_id_starts_with_its_kind_and_decodes(kind: IdKind) -> None:
    text = ids.encode(kind, KEY)
    assert text == f"{kind.value}_0193a5b4c3d27e1f8a9b0c1d2e3f4a5b"
    assert ids.decode(kind, text) == KEY
    assert ids.decode_any(text) == (kind, KEY)


def test_prefixes_match_contract() -> None:
    assert sorted(IdKind) == [
        "alert",
        "audit",
        "bulk",
        "ep",
        "file",
        "flow",
        "hold",
        "hook",
        "key",
        "link",
        "msg",
        "notif",
        "proj",
        "req",
        "run",
        "sched",
        "secret",
        "token",
        "user",
        "ver",
        "view",
        "worker",
    ]


def test_encoded_ids_sort_by_creation(hand_clock: HandClock) -> None:
    texts = [ids.encode(IdKind.RUN, ids.new_uuid()) for _ in range(100)]
    assert texts == sorted(texts)


@pytest.mark.parametrize(("expected", "got"), list(itertools.permutations(IdKind, 2)))
def test_id_of_other_kind_names_expected_kind(expected: IdKind, got: IdKind) -> None:
    nouns = {kind: kind.name.lower().replace("_", " ") for kind in IdKind}
    with pytest.raises(InvalidIdError) as refused:
        ids.decode(expected, ids.encode(got, KEY))
    assert refused.value.message == (
        f"Expected the ID of a {nouns[expected]} ({expected.value}_…), "
        f"got that of a {nouns[got]}: {got.value}_{KEY.hex}"
    )


DAMAGED: dict[str, str] = {
    "nothing": "",
    "prefix alone": "run_",
    "no prefix": KEY.hex,
    "unknown prefix": f"job_{KEY.hex}",
    "capital prefix": f"RUN_{KEY.hex}",
    "other separator": f"run-{KEY.hex}",
    "doubled separator": f"run__{KEY.hex}",
    "hyphens": f"run_{KEY}",
    "braces": f"run_{{{KEY.hex}}}",
    "urn": f"run_urn:uuid:{KEY.hex}",
    "capitals": f"run_{KEY.hex.upper()}",
    "too short": f"run_{KEY.hex[:-1]}",
    "too long": f"run_{KEY.hex}0",
    "no hex digit": f"run_{KEY.hex[:-1]}g",
    "space in front": f" run_{KEY.hex}",
    "space behind": f"run_{KEY.hex} ",
    "line feed behind": f"run_{KEY.hex}\n",
    "NUL behind": f"run_{KEY.hex}\0",
    "digits of another script": "run_" + "٣" * 32,
    "underscores that int() takes": f"run_{KEY.hex[:15]}_{KEY.hex[16:]}",
    "a sign that int() takes": f"run_+{KEY.hex[1:]}",
    "a lone surrogate": "run_\ud800",
    "a number": "42",
    "an SQL injection": "run_' OR 1=1 --",
}


@pytest.mark.parametrize("text", list(DAMAGED.values()), ids=list(DAMAGED))
@pytest.mark.parametrize("decode", [ids.decode_any, lambda text: ids.decode(IdKind.RUN, text)], ids=["any", "run"])
def test_damaged_text_is_refused(decode: Callable[[str], object], text: str) -> None:
    with pytest.raises(InvalidIdError, match=r"^Not an ID: "):
        decode(text)


def test_error_truncates_damaged_text() -> None:
    with pytest.raises(InvalidIdError) as refused:
        ids.decode_any("x" * 1_000_000)
    assert len(refused.value.message) < 100


@given(st.text())
def test_any_text_decodes_or_is_refused(text: str) -> None:
    try:
        kind, key = ids.decode_any(text)
    except InvalidIdError:
        return
    assert ids.encode(kind, key) == text


def test_any_key_survives_encoding() -> None:
    # A UUID of another version decodes too; no row has it.
    key = uuid4()
    assert ids.decode(IdKind.FLOW, ids.encode(IdKind.FLOW, key)) == key


INSTANTS = st.integers(0, (datetime.max.replace(tzinfo=UTC) - ids._EPOCH - 3 * MS) // timedelta(microseconds=1)).map(
    lambda microseconds: ids._EPOCH + timedelta(microseconds=microseconds)
)


@given(INSTANTS, st.integers(0, (1 << 74) - 1))
def test_bounds_enclose_every_uuid_of_millisecond(instant: datetime, filler: int) -> None:
    ms = (instant - ids._EPOCH) // MS
    for near in range(max(ms - 1, 0), ms + 3):
        key, made_at = uuid7(near, filler), ids._EPOCH + near * MS
        assert (key >= ids.first_uuid_at(instant)) is (made_at >= instant)


def test_bounds_are_exact_at_edge_of_millisecond() -> None:
    def bound(ms: int) -> UUID:
        return UUID(int=ms << 80)

    microsecond = timedelta(microseconds=1)
    ms = (NOON - ids._EPOCH) // MS
    assert ids.first_uuid_at(NOON - microsecond) == ids.first_uuid_at(NOON) == bound(ms)
    assert ids.first_uuid_at(NOON + microsecond) == bound(ms + 1)


def test_bounds_before_1970_are_below_every_uuid() -> None:
    for instant in (datetime.min.replace(tzinfo=UTC), datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)):
        assert ids.first_uuid_at(instant) == UUID(int=0)


def test_bounds_at_end_of_time_exceed_every_new_uuid() -> None:
    for instant in (datetime.max.replace(tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)):
        assert ids.first_uuid_at(instant) > ids.new_uuid()


def test_bounds_accept_any_time_zone() -> None:
    elsewhere = datetime.fromisoformat("2026-01-01T14:00:00+02:00")
    assert ids.first_uuid_at(elsewhere) == ids.first_uuid_at(NOON)


def test_random_bits_differ_between_processes() -> None:
    # Two generators at the same millisecond stand for two processes.
    ms = secrets.randbits(40)
    first, second = ids._Generator(), ids._Generator()
    assert len({key for generator in (first, second) for key in generator.next(ms, 1_000)}) == 2_000
