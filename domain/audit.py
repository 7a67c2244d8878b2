"""The audit log: one event for each successful mutation, recorded in the transaction of its change.

The command line and the service itself record the same actions, and the service some of its own. A request that changes
nothing records no event: a dry run, or a repetition of an earlier request with its idempotency key.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain.described_enum import DescribedEnum


class AuditAction(DescribedEnum):
    """The recorded action: the mutation or command of the same name, a sign-in or sign-out, a work of the service."""

    CREATE_FLOW = "CREATE_FLOW", "A flow was created."
    UPDATE_FLOW = "UPDATE_FLOW", "A flow was changed."
    DELETE_FLOW = "DELETE_FLOW", "The deletion of a flow was begun."
    HOLD_FLOW = "HOLD_FLOW", "The starts of a flow were held."
    RELEASE_FLOW = "RELEASE_FLOW", "The starts of a flow were released."
    PUBLISH_FLOW_VERSION = "PUBLISH_FLOW_VERSION", "A version of a flow was published."
    UPDATE_PROJECT = "UPDATE_PROJECT", "The settings of a project were changed."
    DELETE_PROJECT = "DELETE_PROJECT", "The deletion of a project was begun."
    HOLD_PROJECT = "HOLD_PROJECT", "The starts of a project were held."
    RELEASE_PROJECT = "RELEASE_PROJECT", "The starts of a project were released."
    DRAIN = "DRAIN", "Workers take no more runs, by the command of this name."
    UNDRAIN = "UNDRAIN", "Workers take runs again, by the command of this name."
    CREATE_SCHEDULE = "CREATE_SCHEDULE", "A schedule was created."
    UPDATE_SCHEDULE = "UPDATE_SCHEDULE", "A schedule was changed."
    DELETE_SCHEDULE = "DELETE_SCHEDULE", "A schedule was deleted."
    CREATE_WEBHOOK = "CREATE_WEBHOOK", "A webhook was created."
    UPDATE_WEBHOOK = "UPDATE_WEBHOOK", "A webhook was changed."
    ROTATE_WEBHOOK = "ROTATE_WEBHOOK", "A webhook got a new token."
    DELETE_WEBHOOK = "DELETE_WEBHOOK", "A webhook was deleted."
    CREATE_API_KEY = "CREATE_API_KEY", "An API key was created."
    UPDATE_API_KEY = "UPDATE_API_KEY", "The name or the rate limit of an API key was changed."
    ROTATE_API_KEY = "ROTATE_API_KEY", "An API key was replaced."
    REVOKE_API_KEY = "REVOKE_API_KEY", "An API key was revoked."
    CREATE_ACCESS_TOKEN = "CREATE_ACCESS_TOKEN", "An access token was created."
    REVOKE_ACCESS_TOKEN = "REVOKE_ACCESS_TOKEN", "An access token was revoked."
    CREATE_ANSWER_LINK = "CREATE_ANSWER_LINK", "A link to a question was created."
    CREATE_SECRET = "CREATE_SECRET", "A secret was created."
    ROTATE_SECRET = "ROTATE_SECRET", "A secret got a new value."
    DELETE_SECRET = "DELETE_SECRET", "A secret was deleted."
    CREATE_SAVED_VIEW = "CREATE_SAVED_VIEW", "A view was saved."
    UPDATE_SAVED_VIEW = "UPDATE_SAVED_VIEW", "A saved view was changed."
    DELETE_SAVED_VIEW = "DELETE_SAVED_VIEW", "A saved view was deleted."
    CREATE_ENDPOINT = "CREATE_ENDPOINT", "An endpoint was created."
    UPDATE_ENDPOINT = "UPDATE_ENDPOINT", "An endpoint was changed, or disabled by the service."
    ROTATE_ENDPOINT_SECRET = "ROTATE_ENDPOINT_SECRET", "An endpoint got a new secret."
    DELETE_ENDPOINT = "DELETE_ENDPOINT", "An endpoint was deleted."
    TEST_ENDPOINT = "TEST_ENDPOINT", "A test was sent to an endpoint."
    REDELIVER = "REDELIVER", "A delivery was sent again."
    REDELIVER_ALL = "REDELIVER_ALL", "Deliveries to an endpoint were sent again."
    CREATE_ALERT = "CREATE_ALERT", "An alert was created."
    UPDATE_ALERT = "UPDATE_ALERT", "An alert was changed."
    DELETE_ALERT = "DELETE_ALERT", "An alert was deleted."
    TEST_ALERT = "TEST_ALERT", "A test was sent to the target of an alert."
    START_RUN = "START_RUN", "A run was started."
    RETRY = "RETRY", "A run was retried."
    RERUN = "RERUN", "A run was run again."
    COMPLETE_STEP = "COMPLETE_STEP", "The step at which a run ended was completed by hand."
    CANCEL = "CANCEL", "A run was cancelled."
    RESUME_RUN = "RESUME_RUN", "An input request was answered."
    UPDATE_RUN = "UPDATE_RUN", "Tags, metadata or the note of a run were changed."
    BULK_CANCEL = "BULK_CANCEL", "A bulk cancel was started."
    BULK_RETRY = "BULK_RETRY", "A bulk retry was started."
    BULK_ARCHIVE = "BULK_ARCHIVE", "A bulk archive was started."
    BULK_UNARCHIVE = "BULK_UNARCHIVE", "A bulk unarchive was started."
    BULK_ERASE = "BULK_ERASE", "A bulk erase was started."
    BULK_DELETE = "BULK_DELETE", "A bulk delete was started."
    CANCEL_BULK_OPERATION = "CANCEL_BULK_OPERATION", "A bulk operation was cancelled."
    ARCHIVE_RUNS = "ARCHIVE_RUNS", "The service archived old runs, by the settings of their project."
    DELETE_RUNS = "DELETE_RUNS", "The service deleted runs at the end of their retention."
    SIGN_IN = "SIGN_IN", "A person signed in through the identity provider."
    SIGN_OUT = "SIGN_OUT", "A person signed out."


BY_SERVICE = frozenset({AuditAction.ARCHIVE_RUNS, AuditAction.DELETE_RUNS})
"""What the service does by itself: one event for each chunk of runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """A filter of audit events. A field that is None restricts nothing; an empty list matches no event."""

    project_ids: Sequence[UUID] | None = None
    actions: Sequence[AuditAction] | None = None
    actor_ids: Sequence[UUID] | None = None
    object_ids: Sequence[UUID] | None = None
    """The objects that were changed, or the flows to which they belong."""
    request_ids: Sequence[str] | None = None
    created_after: datetime | None = None
    """Earliest time of an event, inclusive."""
    created_before: datetime | None = None
    """Latest time of an event, exclusive."""
