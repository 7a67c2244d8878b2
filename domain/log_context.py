"""Fields that belong on every log line of a piece of work, such as the ID of its request or run.

The process's log handler adds the fields to the lines (service/log_output.py). A task inherits the fields of the task
that created it. A task that outlives the request that happened to start it is created with
`context=contextvars.Context()`, so that it carries no fields.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

REQUEST_ID = "request_id"
"""The field with the ID of the request."""
_NO_FIELDS: Mapping[str, object] = MappingProxyType({})
_fields: ContextVar[Mapping[str, object]] = ContextVar("log_fields", default=_NO_FIELDS)


@contextmanager
def log_fields(**fields: object) -> Iterator[None]:
    """Adds `fields` to the log lines written inside the block, by this task and by those it creates."""
    token = _fields.set({**_fields.get(), **fields})
    try:
        yield
    finally:
        _fields.reset(token)


def add_log_fields(**fields: object) -> None:
    """Adds `fields` to all further log lines of this task, and of those it creates from now on."""
    _fields.set({**_fields.get(), **fields})


def current_request_id() -> str | None:
    """Returns the ID of the present request; None outside of requests."""
    request_id = _fields.get().get(REQUEST_ID)
    return None if request_id is None else str(request_id)


def current_log_fields() -> Mapping[str, object]:
    """Returns the fields of the present task."""
    return _fields.get()
