"""The context of a request: its viewer, and the services for resolvers."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from db.core.database import Database
from domain.access_token import NO_TOKEN_KEYS, TokenKeys
from domain.actor import Actor, ActorKind, Origin
from domain.enums import Role
from domain.log_context import current_request_id
from domain.runs.run_filter import RunFilter
from engine.compiled_flow import FlowCache
from engine.secrets.key_ring import NO_KEYS, KeyRing
from live.hub import Hub
from live.stats_feed import StatsFeeds
from resolvers.loaders import Loaders
from resolvers.rates.budgets import Budgets, RateLimit


@dataclass(frozen=True, slots=True)
class Viewer:
    """The API key of a request, the access token, or the session of a person who signed in."""

    key_id: UUID
    project_id: UUID | None
    """The project of the key; None for an operator key, which sees all projects."""
    role: Role
    name: str
    kind: ActorKind = ActorKind.API_KEY
    """WEBHOOK for the call of a webhook: its ID and name replace those of a key."""
    payloads: bool = True
    """False: the viewer cannot read inputs, outputs, details of errors, logs and files."""
    token_id: UUID | None = None
    """The access token; None for a key. `key_id` is the key that created it."""
    scope: RunFilter | None = None
    """The filter of a token, which can see only these runs. None for a key."""
    expires_at: datetime | None = None
    """The instant at which the token or key expires; None: it does not expire."""
    user_id: UUID | None = None
    """The person who signed in, whose name is `name`; `key_id` is the session. None for keys of machines."""
    granted_project_ids: Sequence[UUID] = ()
    """The projects for which this person may have a session."""
    cost_per_minute: int | None = None
    """The highest cost in a minute of what the key and its tokens do; None: the default of the service."""

    @property
    def holder(self) -> UUID:
        """Returns the ID of the token or the key, by which connections and subscriptions are counted."""
        return self.token_id or self.key_id

    @property
    def owner(self) -> UUID:
        """Returns the ID of the person or the key to whom belongs what only they can see."""
        return self.user_id or self.key_id

    @property
    def visibility_key(self) -> Hashable:
        """Returns a value that is equal for viewers who see the same: they get equal responses."""
        return self.project_id, self.role, self.payloads, self.scope

    @property
    def actor(self) -> Actor:
        """Returns the viewer as the actor of its changes."""
        if self.user_id is not None:
            return Actor(ActorKind.USER, self.user_id, self.name)
        return Actor(self.kind, self.key_id, self.name)


@dataclass(frozen=True, slots=True)
class ParentHeaders:
    """The parent run that request headers name. The arguments of a mutation take precedence."""

    run_id: str | None = None
    fail_on_failure: bool | None = None


@dataclass(frozen=True, slots=True)
class Charge:
    """What an operation costs."""

    cost: int
    rate_limit: RateLimit | None
    """None: the key has no limit."""


def _never() -> bool:
    return False


@dataclass(slots=True)
class Context:
    """One request, or all operations of one socket."""

    database: Database
    flows: FlowCache
    viewer: Viewer
    parent: ParentHeaders = ParentHeaders()
    long_lived: bool = False
    """True for a socket, whose operations share the context."""
    compiles: bool = False
    """Whether selections may be compiled: the setting `compiled_reads`."""
    connection_params: object = None
    """The payload of `connection_init` on a socket."""
    hub: Hub | None = None
    """The source of live events; None where subscriptions are impossible."""
    resume_after: str | None = None
    """The cursor of the last event that the client received, from its transport. It replaces the argument `after`."""
    secret_keys: KeyRing = NO_KEYS
    """The keys that encrypt secrets."""
    stats: StatsFeeds | None = None
    """The statistics feeds of the process; None where subscriptions are impossible."""
    token_keys: TokenKeys = NO_TOKEN_KEYS
    """The keys that sign access tokens."""
    budgets: Budgets | None = None
    """What charges operations to keys; None where no operations are executed."""
    reports_cost: bool = False
    """True if the response says what the operation costs."""
    charge: Charge | None = None
    """What the operation was charged, so that it is charged once; always None for a socket."""
    cost: int | None = None
    """The cost of the last operation; None before it is known. See `schema.cost`."""
    has_errors: bool = False
    """True if a result over HTTP has errors."""
    is_stopping: Callable[[], bool] = _never
    """Returns True once the server stops, so that requests which wait end before they are cancelled."""
    loaders: Loaders = field(init=False)

    def __post_init__(self) -> None:
        self.loaders = Loaders(self.database, cache=not self.long_lived)

    @property
    def origin(self) -> Origin:
        """Returns the origin of the changes of the present operation."""
        return Origin(self.viewer.actor, current_request_id())
