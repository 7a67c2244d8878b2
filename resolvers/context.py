"""The context of a request, which resolvers share."""

from dataclasses import dataclass, field
from uuid import UUID

from db.core.database import Database
from domain.enums import Role
from engine.compiled_flow import FlowCache
from live.hub import Hub
from live.stats_feed import StatsFeeds
from resolvers.loaders import Loaders


@dataclass(frozen=True, slots=True)
class Viewer:
    """The key that a request shows."""

    key_id: UUID
    project_id: UUID | None
    """None for an operator key, which sees all projects."""
    role: Role
    name: str


@dataclass(frozen=True, slots=True)
class ParentHeaders:
    """The parent run that request headers name. Arguments of the mutation override it."""

    run_id: str | None = None
    fail_on_failure: bool | None = None


@dataclass(slots=True)
class Context:
    """The viewer of a request, and its access to data."""

    database: Database
    flows: FlowCache
    viewer: Viewer
    parent: ParentHeaders = ParentHeaders()
    long_lived: bool = False
    """True for a socket, whose operations share the context."""
    connection_params: object = None
    """The payload of the `connection_init` of a socket."""
    hub: Hub | None = None
    """The source of streams; None if the transport has no subscriptions."""
    resume_after: str | None = None
    """The last cursor that the transport delivered before a reconnect. It overrides the one in the document."""
    stats: StatsFeeds | None = None
    """The statistics feeds of the process; None if the transport has no subscriptions."""
    loaders: Loaders = field(init=False)

    def __post_init__(self) -> None:
        self.loaders = Loaders(self.database, cache=not self.long_lived)
