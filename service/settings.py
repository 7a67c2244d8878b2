"""The settings: environment variables with the prefix FLOWRUNS_, which are read once at the start."""

from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import make_url
from strawberry.http.websocket_origin import normalize_origin

from db.core import pg_url
from domain.access_token import MIN_KEY_LENGTH
from domain.runs.run_log import MAX_LINES
from engine.file_store import BUCKETS
from engine.run_output import MAX_FILE_BYTES
from engine.secrets.key_ring import parse_keys
from resolvers.limits import MAX_COST_PER_MINUTE
from service.log_output import LogFormat
from service.streams.connection_registry import MAX_CONNECTIONS, MAX_SUBSCRIPTIONS

FILES_FOLDER = "files"
"""Folder of run files next to the database file, unless `files_url` is set."""
SQLITE_SCHEMES = ("sqlite://", "sqlite+aiosqlite://")


class Settings(BaseSettings):
    """The settings of the service; README lists them too."""

    model_config = SettingsConfigDict(env_prefix="FLOWRUNS_", frozen=True, extra="ignore")

    database_url: str = Field(
        default="sqlite+aiosqlite:///.flowruns/flowruns.db",
        description="`sqlite:///file` or `postgresql://user:password@host/name`, with parameters such as `sslmode`.",
    )
    host: str = Field(default="127.0.0.1", description="The address to listen on.")
    port: int = Field(default=8000, ge=0, le=65_535, description="The port to listen on; 0 takes any free one.")
    bootstrap_key: SecretStr | None = Field(
        default=None,
        min_length=20,
        description="An ADMIN key of the default project, fixed by the operator; generated when absent.",
    )
    actions: str = Field(
        default="", description="Python modules whose actions `python` steps may call, separated by commas."
    )
    http_allow_private: bool = Field(
        default=False, description="Let `http` steps call private, loopback and link-local addresses."
    )
    http_use_proxies: bool | None = Field(
        default=None,
        description="Let `http` steps use `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`. A proxy decides by itself which"
        " addresses it calls, private ones too. Default: as `FLOWRUNS_HTTP_ALLOW_PRIVATE`.",
    )
    files_url: str = Field(
        default="",
        description="Where the files that steps store are kept: a folder, `s3://…`, `gs://…` or `az://…`.",
    )
    max_file_bytes: int = Field(
        default=MAX_FILE_BYTES, ge=1, description="Bytes that a file may have which a step stores."
    )
    max_log_lines: int = Field(
        default=MAX_LINES, ge=1, le=1_000_000, description="Lines that are kept of the log of a run."
    )
    secret_keys: SecretStr = Field(
        default=SecretStr(""),
        description="Keys that encrypt secrets, separated by commas: the first one encrypts, all of them decrypt. Each"
        " is the base64 of 32 bytes; `secrets new-key` makes one. For an SQLite database the default is a key file"
        " beside it.",
    )
    token_keys: SecretStr = Field(
        default=SecretStr(""),
        description="Keys that sign access tokens, separated by commas, of 32 characters or more: the first one signs,"
        " all of them verify. For an SQLite database the default is a key file beside it.",
    )
    seed_demo: bool = Field(default=True, description="Create the demo flows, when the database has no flow yet.")
    worker_concurrency: int = Field(default=64, ge=1, le=10_000, description="Runs that a worker executes at once.")
    worker_lease_seconds: float = Field(
        default=15.0, gt=0, description="Seconds after which the runs of a lost worker are taken over."
    )
    shutdown_grace_seconds: float = Field(
        default=10.0, ge=0, description="Seconds for which runs under way may go on when the service stops."
    )
    event_retention_days: int | None = Field(
        default=30,
        ge=1,
        le=36_500,
        description="Days for which streams can go on from a cursor; older events are deleted, statuses of runs stay.",
    )
    execution_data_retention_days: int | None = Field(
        default=None,
        ge=1,
        le=36_500,
        description="Days for which step data of runs are kept after their end, unless their project says otherwise.",
    )
    bulk_retention_days: int | None = Field(
        default=90,
        ge=1,
        le=36_500,
        description="Days for which bulk operations that have ended are kept, with what became of each run.",
    )
    audit_retention_days: int | None = Field(
        default=365,
        ge=1,
        le=36_500,
        description="Days for which events of the audit log are kept.",
    )
    database_pool_size: int = Field(
        default=10,
        ge=2,
        le=1_000,
        description="Connections for reads, and as many for writes, that a process keeps open at most.",
    )
    query_timeout: float = Field(
        default=15.0,
        gt=0,
        le=3_600,
        description="Seconds that a read of the database may take for the API; longer ones end as QUERY_TIMEOUT.",
    )
    max_body_bytes: int = Field(default=4 * 1024 * 1024, ge=1024, description="Bytes that a request body may have.")
    cors_origins: str = Field(
        default="",
        description="Origins whose pages may call the service, such as `https://ui.example`, separated by commas; `*`"
        " for every one.",
    )
    cors_credentials: bool = Field(
        default=False, description="Let pages of `cors_origins` use the cookie of a signed-in browser too."
    )
    persisted_queries: int = Field(
        default=1_000,
        ge=0,
        le=100_000,
        description="Documents that a process keeps for automatic persisted queries; 0 switches them off.",
    )
    trusted_documents: str = Field(
        default="",
        description="JSON files that map IDs to documents, separated by commas. If set, no other document is executed.",
    )
    max_connections_per_key: int = Field(
        default=MAX_CONNECTIONS,
        ge=1,
        description="Connections for streams that one key may have open at a time, in one process.",
    )
    max_subscriptions_per_key: int = Field(
        default=MAX_SUBSCRIPTIONS,
        ge=1,
        description="Subscriptions that one key may have open at a time, in one process.",
    )
    search: bool = Field(
        default=False,
        description="Switch on the search of inputs, outputs and logs at the start, as `search on` does. If off, the"
        " search stays as it is.",
    )
    cost_per_minute: int | None = Field(
        default=None,
        ge=1,
        le=MAX_COST_PER_MINUTE,
        description="What the operations of one key may cost in a minute, unless the key says otherwise; by default"
        " there is no limit.",
    )
    report_costs: bool = Field(
        default=False,
        description="Report in `extensions.cost` of every response what its operation costs. Clients can ask for it.",
    )
    compiled_reads: bool = Field(
        default=True,
        description="Compile the selections of queries, so that the database writes their JSON, and those of"
        " subscriptions, rendering a result once for all subscribers that get the same, and writing it straight to"
        " their sockets. If off, clients get the same answers and messages more slowly.",
    )
    metrics: bool = Field(default=False, description="Measure, and serve the metrics for Prometheus: `on` or `off`.")
    metrics_host: str = Field(
        default="127.0.0.1", description="The address where metrics are read; no key is needed there."
    )
    metrics_port: int = Field(
        default=9464, ge=0, le=65_535, description="The port where metrics are read; 0 takes any free one."
    )
    traces: bool = Field(
        default=False,
        description="Send traces to a collector of OpenTelemetry: `on` or `off`. Where it is says"
        " `OTEL_EXPORTER_OTLP_ENDPOINT`, by default http://localhost:4318.",
    )
    traces_ratio: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="The share of requests and runs that are traced, unless their client says so in `traceparent`.",
    )
    log_level: str = Field(
        default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="The least level of log lines."
    )
    log_format: LogFormat = Field(
        default=LogFormat.CONSOLE, description="How log lines are written: `console` for people, `json` for machines."
    )

    @field_validator("database_url")
    @classmethod
    def _known_driver(cls, value: str) -> str:
        if pg_url.is_postgresql(value):
            pg_url.parse(value)
        elif not value.startswith(SQLITE_SCHEMES):
            known = ", ".join(f"{scheme}://" for scheme in (*pg_url.SCHEMES, "sqlite"))
            raise ValueError(f"the URL must begin with one of {known}; asyncpg is the driver for PostgreSQL")
        elif make_url(value).database in (None, "", ":memory:"):
            raise ValueError("the URL must name a file: sqlite:///folder/file.db")
        return value

    @field_validator("token_keys")
    @classmethod
    def _long_keys(cls, value: SecretStr) -> SecretStr:
        if any(len(key) < MIN_KEY_LENGTH for key in _listed(value.get_secret_value())):
            raise ValueError(f"each key must have at least {MIN_KEY_LENGTH} characters")
        return value

    @field_validator("secret_keys")
    @classmethod
    def _usable_keys(cls, value: SecretStr) -> SecretStr:
        parse_keys(value.get_secret_value())
        return value

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: str) -> str:
        for origin in _listed(value):
            if origin != "*" and ("*" in origin or normalize_origin(origin) != origin):
                raise ValueError(
                    f"an origin must be as browsers send it, `https://host` or `https://host:port` without a path, got"
                    f" {origin!r}"
                )
        return value

    @model_validator(mode="after")
    def _no_cookies_from_everywhere(self) -> Self:
        if self.cors_credentials and "*" in self.origins:
            raise PydanticCustomError("cors", "with FLOWRUNS_CORS_CREDENTIALS, FLOWRUNS_CORS_ORIGINS must list origins")
        return self

    @field_validator("files_url")
    @classmethod
    def _known_store(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme in BUCKETS and not parts.netloc:
            raise ValueError("the URL names no bucket")
        if parts.scheme not in ("", "file", *BUCKETS):
            known = ", ".join(f"{name}://" for name in BUCKETS)
            raise ValueError(f"a folder is needed, or a URL that begins with {known}")
        return value

    @property
    def uses_proxies(self) -> bool:
        """True if `http` steps use the proxies that the environment names."""
        return self.http_allow_private if self.http_use_proxies is None else self.http_use_proxies

    @property
    def files_place(self) -> str:
        """The folder or URL of the file store."""
        database_file = self.database_file or Path(".flowruns/database")
        return self.files_url or str(database_file.parent.absolute() / FILES_FOLDER)

    @property
    def action_modules(self) -> list[str]:
        """The modules that `actions` names."""
        return _listed(self.actions)

    @property
    def origins(self) -> list[str]:
        """The origins that `cors_origins` lists."""
        return _listed(self.cors_origins)

    @property
    def trusted_document_files(self) -> list[Path]:
        """The files that `trusted_documents` names."""
        return [Path(name) for name in _listed(self.trusted_documents)]

    @property
    def token_key_list(self) -> list[str]:
        """The keys that `token_keys` names."""
        return _listed(self.token_keys.get_secret_value())

    @property
    def database_file(self) -> Path | None:
        """The file of an SQLite database; None for PostgreSQL."""
        if pg_url.is_postgresql(self.database_url):
            return None
        return Path(make_url(self.database_url).database or "")


def _listed(value: str) -> list[str]:
    """Returns the parts of a list that is separated by commas."""
    return [part.strip() for part in value.split(",") if part.strip()]
