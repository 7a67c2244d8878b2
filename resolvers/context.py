"""What a request carries through the resolvers."""

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
    """The key in use."""

    key_id: UUID
    project_id: UUID | None
    """None: the operator's key, for all projects."""
    role: Role
    name: str


@dataclass(frozen=True, slots=True)
class ParentHeaders:
    """The parent run that request headers name; arguments of the mutation come first."""

    run_id: str | None = None
    fail_on_failure: bool | None = None


@dataclass(slots=True)
class Context:
    """One request: who asks, and by which ways to get at the data."""

    database: Database
    flows: FlowCache
    viewer: Viewer
    parent: ParentHeaders = ParentHeaders()
    long_lived: bool = False
    """Whether it is that of a socket, on which operations come one after the other."""
    connection_params: object = None
    """What the client of a socket sent when it connected."""
    hub: Hub | None = None
    """Where streams come from; None where nobody can subscribe."""
    resume_after: str | None = None
    """The cursor at which the client was cut off, known to its transport: it counts before the one it asked for."""
    stats: StatsFeeds | None = None
    """Those of the process, where an operation may subscribe."""
    loaders: Loaders = field(init=False)

    def __post_init__(self) -> None:
        self.loaders = Loaders(self.database, cache=not self.long_lived)
