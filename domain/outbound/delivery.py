"""Endpoints and deliveries: the kinds of events, the schedule of attempts, and the results."""

import random
from datetime import timedelta
from typing import NamedTuple
from urllib.parse import urlsplit
from uuid import UUID, uuid5

from domain.described_enum import DescribedEnum


class EventKind(DescribedEnum):
    """A kind of event that is sent to endpoints."""

    RUN_STATUS_CHANGED = "RUN_STATUS_CHANGED", "A run was created, or changed its status and has not ended."
    RUN_ENDED = "RUN_ENDED", "A run reached a final status."
    RUN_RECOVERED = "RUN_RECOVERED", "A retry of a run that had failed succeeded."
    RUN_CHANGED = "RUN_CHANGED", "Tags, metadata or the note of a run were changed."
    RUN_ARCHIVED = "RUN_ARCHIVED", "A run was archived."
    RUN_UNARCHIVED = "RUN_UNARCHIVED", "A run was unarchived."
    INPUT_REQUEST_CHANGED = (
        "INPUT_REQUEST_CHANGED",
        "A run asked a person for input, or the input request was answered, was cancelled or expired.",
    )
    TEST = "TEST", "`testEndpoint` was called. Endpoints need not name it."


EVENT_TYPES = {
    EventKind.RUN_STATUS_CHANGED: "run.status_changed",
    EventKind.RUN_ENDED: "run.ended",
    EventKind.RUN_RECOVERED: "run.recovered",
    EventKind.RUN_CHANGED: "run.changed",
    EventKind.RUN_ARCHIVED: "run.archived",
    EventKind.RUN_UNARCHIVED: "run.unarchived",
    EventKind.INPUT_REQUEST_CHANGED: "input_request.changed",
    EventKind.TEST: "endpoint.test",
}
"""The `type` of the body of a delivery, in the form that Standard Webhooks recommends."""


class DeliveryStatus(DescribedEnum):
    """What became of a delivery."""

    PENDING = "PENDING", "It waits for its first or its next attempt. While its endpoint is disabled, it waits as well."
    DELIVERED = "DELIVERED", "The receiver has answered with a status from 200 to 299."
    FAILED = (
        "FAILED",
        "No attempt succeeded for three days, or the receiver can never take it. `redeliver` tries again.",
    )
    CANCELLED = (
        "CANCELLED",
        "Its endpoint was deleted, or its run deleted or its callback erased, before it was delivered.",
    )


class DisabledReason(DescribedEnum):
    """Why an endpoint gets no events."""

    REQUESTED = "REQUESTED", "A client disabled it."
    GONE = "GONE", "It answered 410 Gone."
    FAILING = "FAILING", "No attempt has succeeded for three days."


class AttemptError(DescribedEnum):
    """Why an attempt of a delivery failed."""

    STATUS = "STATUS", "The receiver answered with a status below 200 or above 299."
    REDIRECT = "REDIRECT", "The receiver answered with a redirect, which is not followed. Set its new URL."
    TIMEOUT = "TIMEOUT", "The receiver did not answer in time."
    CONNECTION_FAILED = "CONNECTION_FAILED", "The receiver could not be reached, or broke the connection."
    ADDRESS_REFUSED = "ADDRESS_REFUSED", "The URL leads to an address that is not on the public internet."
    KEY_MISSING = "KEY_MISSING", "The worker lacks the key that encrypted the secret or the URL."


MAX_AGE = timedelta(days=3)
"""How long a delivery is tried, and how long an endpoint may fail before it is disabled: a receiver that breaks on a
Friday evening is repaired on Monday."""
BACK_OFF = tuple(
    timedelta(seconds=seconds) for seconds in (5, 30, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 72_000)
)
"""The delays between attempts. Together they are just below `MAX_AGE`."""
JITTER = 0.1
"""The share by which delays differ at random, so that a receiver that comes back does not get everything at once."""
SECRET_PREFIX = "whsec_"  # noqa: S105 - a prefix
"""The beginning of the secrets of Standard Webhooks."""
SECRET_BYTES = 32
"""Bytes of a secret. Standard Webhooks asks for 24 to 64."""


def delay_after(failures: int) -> timedelta | None:
    """Returns the delay after the failure with this number, counted from 1; None: there is no further attempt."""
    if failures > len(BACK_OFF):
        return None
    spread = 1 + random.uniform(-JITTER, JITTER)  # noqa: S311 - no secret
    return BACK_OFF[failures - 1] * spread


def callback_lane(project_id: UUID, url: str) -> UUID:
    """Returns the lane of callbacks of a project to the server of `url`: they share a bound of concurrency."""
    parts = urlsplit(url)
    return uuid5(project_id, f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}".lower())


class Attempt(NamedTuple):
    """The result of one attempt of a delivery."""

    duration_ms: int
    status: int | None
    """The HTTP status of the response; None: there was none."""
    error: AttemptError | None
    """None: the attempt succeeded."""
    message: str | None
    """What went wrong, for people."""
    excerpt: str | None
    """The beginning of the body of the response."""
    retry_after: float | None = None
    """Seconds after which the receiver takes the next attempt; None: it does not say."""

    @property
    def is_delivered(self) -> bool:
        """True if the receiver has taken the event."""
        return self.error is None
