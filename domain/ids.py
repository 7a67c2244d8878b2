"""Typed, opaque IDs: a prefix that names the type, and a UUIDv7 (RFC 9562).

A UUIDv7 begins with its creation time in milliseconds, so sorting by ID is sorting by creation, a row's
`created_at` is read from its ID, and a range of creation times is a range of IDs: one index serves all three.
"""

import re
import secrets
import threading
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID

from domain.errors import InvalidIdError
from domain.time import clock


class IdKind(StrEnum):
    """The type of an ID; its value is the prefix."""

    PROJECT = "proj"
    API_KEY = "key"
    USER = "user"
    ACCESS_TOKEN = "token"  # noqa: S105 - a prefix
    AUDIT_EVENT = "audit"
    FLOW = "flow"
    FLOW_VERSION = "ver"
    RUN = "run"
    FILE = "file"
    BULK_OPERATION = "bulk"
    INPUT_REQUEST = "req"
    ANSWER_LINK = "link"
    HOLD = "hold"
    SCHEDULE = "sched"
    WEBHOOK = "hook"
    SAVED_VIEW = "view"
    SECRET = "secret"  # noqa: S105 - a prefix
    ENDPOINT = "ep"
    DELIVERY = "msg"
    ALERT = "alert"
    NOTIFICATION = "notif"
    WORKER = "worker"


_KINDS = {kind.value: kind for kind in IdKind}
_DIGITS = re.compile("[0-9a-f]{32}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
# IDs stay in order if the clock is set back by less than this. After a larger step they follow the clock.
_TOLERATED_STEP_BACK_MS = 10_000


class _Generator:
    """Generator of strictly increasing UUIDv7s: a 12-bit counter (RFC 9562, method 1) orders those of one
    millisecond."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def reset(self) -> None:
        with self._lock:
            self._last = 0

    def next(self, ms: int, count: int) -> list[UUID]:
        with self._lock:
            first = ms << 12 | secrets.randbits(8)
            if 0 <= (self._last >> 12) - ms < _TOLERATED_STEP_BACK_MS:
                first = max(first, self._last + 1)
            self._last = first + count - 1
        noise = secrets.token_bytes(8 * count)
        return [
            UUID(
                int=(tick >> 12) << 80
                | 0x7 << 76
                | (tick & 0xFFF) << 64
                | 0b10 << 62
                | int.from_bytes(noise[8 * number : 8 * number + 8]) >> 2
            )
            for number, tick in enumerate(range(first, first + count))
        ]


_generator = _Generator()


def new_uuid() -> UUID:
    """Returns a UUIDv7 of the present millisecond, greater than every earlier one of this process."""
    return new_uuids(1)[0]


def new_uuids(count: int) -> list[UUID]:
    """Returns `count` UUIDv7s, each greater than the one before."""
    return _generator.next((clock.now() - _EPOCH) // _MILLISECOND, count)


def follow_clock() -> None:
    """Makes the next IDs follow the clock, even behind earlier IDs. For processes that set another clock."""
    _generator.reset()


def created_at(key: UUID) -> datetime:
    """Returns the instant, to the millisecond, at which `key` was created."""
    return _EPOCH + (key.int >> 80) * _MILLISECOND


def first_uuid_at(instant: datetime) -> UUID:
    """Returns the smallest UUIDv7 of `instant`. The bound turns a range of times into a range of IDs."""
    return _first_of(-((_EPOCH - instant) // _MILLISECOND))


def encode(kind: IdKind, key: UUID) -> str:
    """Returns the ID that clients see, such as `run_0193a5…`."""
    return f"{kind.value}_{key.hex}"


def decode(kind: IdKind, text: str) -> UUID:
    """Returns the key in `text`.

    Raises:
        InvalidIdError: `text` is not an ID, or has another type.
    """
    actual, key = decode_any(text)
    if actual is not kind:
        raise InvalidIdError(f"Expected the ID of a {_noun(kind)} ({kind}_…), got that of a {_noun(actual)}: {text}")
    return key


def decode_any(text: str) -> tuple[IdKind, UUID]:
    """Returns the type and the key in `text`.

    Raises:
        InvalidIdError: `text` is not an ID.
    """
    prefix, _, digits = text.partition("_")
    kind = _KINDS.get(prefix)
    # UUID() would also accept braces, hyphens and capitals.
    if kind is None or _DIGITS.fullmatch(digits) is None:
        raise InvalidIdError(f"Not an ID: {text[:80]!r}")
    return kind, UUID(int=int(digits, 16))


def _first_of(ms: int) -> UUID:
    return UUID(int=max(ms, 0) << 80)


def _noun(kind: IdKind) -> str:
    return kind.name.lower().replace("_", " ")
