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
from engine.alerts.mail import DEFAULT_SENDER, MailServer
from engine.file_store import BUCKETS
from engine.run_output import MAX_FILE_BYTES
from engine.secrets.key_ring import parse_keys
from resolvers.limits import MAX_CALLS_PER_MINUTE, MAX_COST_PER_MINUTE
from service.log_output import LogFormat
from service.sign_in import grants
from service.sign_in.safe_urls import is_safe_url
from service.streams.connection_registry import MAX_CONNECTIONS, MAX_SUBSCRIPTIONS

FILES_FOLDER = "files"
"""Folder of run files next to the database file, unless `files_url` is set."""
SQLITE_SCHEMES = ("sqlite://", "sqlite+aiosqlite://")


class Settings(BaseSettings):
    """The settings of the service. docs/running.md lists them, too."""

    model_config = SettingsConfigDict(env_prefix="FLOWRUNS_", frozen=True, extra="ignore")

    database_url: str = Field(
        default="sqlite+aiosqlite:///.flowruns/flowruns.db",
        description="`sqlite:///file` or `postgresql://user:password@host/name`, with parameters such as `sslmode`.",
    )
    host: str = Field(default="127.0.0.1", description="The address to listen on.")
    port: int = Field(default=8000, ge=0, le=65_535, description="The port to listen on; 0 selects any free one.")
    bootstrap_key: SecretStr | None = Field(
        default=None,
        min_length=20,
        description="An ADMIN key of the default project, set by the operator. Default: a generated key.",
    )
    actions: str = Field(
        default="", description="Python modules whose actions `python` steps may call, separated by commas."
    )
    http_allow_private: bool = Field(
        default=False,
        description="True: `http` steps and deliveries may call private, loopback and link-local addresses.",
    )
    http_use_proxies: bool | None = Field(
        default=None,
        description="True: `http` steps and deliveries use `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`. A proxy decides "
        "by itself which addresses it calls, including private ones. Default: the value of "
        "`FLOWRUNS_HTTP_ALLOW_PRIVATE`.",
    )
    smtp_url: SecretStr = Field(
        default=SecretStr(""),
        description="The mail server for alerts: `smtp://user:password@host:587`, or `smtps://` for TLS from the "
        "beginning. By default no e-mail is sent.",
    )
    mail_from: str = Field(default=DEFAULT_SENDER, description="The address from which alerts send e-mails.")
    files_url: str = Field(
        default="",
        description="The store of the files of runs: a folder, `s3://…`, `gs://…` or `az://…`.",
    )
    max_file_bytes: int = Field(
        default=MAX_FILE_BYTES, ge=1, description="Largest size in bytes of a file that a step stores."
    )
    max_log_lines: int = Field(
        default=MAX_LINES, ge=1, le=1_000_000, description="Largest number of lines in the log of a run."
    )
    secret_keys: SecretStr = Field(
        default=SecretStr(""),
        description="Keys that encrypt secrets, separated by commas: the first one encrypts, all of them decrypt. "
        "Each is the base64 of 32 bytes; `secrets new-key` creates one. Default for an SQLite database: "
        "a key file beside it.",
    )
    token_keys: SecretStr = Field(
        default=SecretStr(""),
        description="Keys that sign access tokens and answer links, separated by commas, of 32 characters or more: the "
        "first one signs, all of them verify. Default for an SQLite database: a key file beside it.",
    )
    seed_demo: bool = Field(
        default=True, description="True: the demo flows are created if the database has no flow yet."
    )
    worker_concurrency: int = Field(
        default=64, ge=1, le=10_000, description="Largest number of runs that a worker executes at the same time."
    )
    worker_lease_seconds: float = Field(
        default=15.0, gt=0, description="Seconds after which another worker claims the runs of a lost worker."
    )
    shutdown_grace_seconds: float = Field(
        default=10.0, ge=0, description="Seconds for which active runs may continue when the service stops."
    )
    event_retention_days: int | None = Field(
        default=30,
        ge=1,
        le=36_500,
        description="Days for which streams can resume from a cursor. Older events are deleted, except the statuses "
        "of runs.",
    )
    execution_data_retention_days: int | None = Field(
        default=None,
        ge=1,
        le=36_500,
        description="Days for which step data are kept after the end of a run, unless the project has a setting of "
        "its own.",
    )
    bulk_retention_days: int | None = Field(
        default=90,
        ge=1,
        le=36_500,
        description="Days for which bulk operations are kept after their end, with the outcome of each run.",
    )
    audit_retention_days: int | None = Field(
        default=365,
        ge=1,
        le=36_500,
        description="Days for which events of the audit log are kept.",
    )
    delivery_retention_days: int | None = Field(
        default=30,
        ge=4,
        le=36_500,
        description="Days for which deliveries and notifications are kept. They are tried for three days.",
    )
    database_pool_size: int = Field(
        default=10,
        ge=2,
        le=1_000,
        description="Largest number of connections for reads, and of connections for writes, that a process keeps "
        "open.",
    )
    query_timeout: float = Field(
        default=15.0,
        gt=0,
        le=3_600,
        description="Largest number of seconds that a read of the database may take for the API. Longer reads end "
        "as QUERY_TIMEOUT.",
    )
    max_body_bytes: int = Field(
        default=4 * 1024 * 1024, ge=1024, description="Largest size in bytes of a request body."
    )
    cors_origins: str = Field(
        default="",
        description="Origins whose pages may call the service, such as `https://ui.example`, separated by commas; "
        "`*` for every origin.",
    )
    cors_credentials: bool = Field(
        default=False, description="True: pages of `cors_origins` may use the cookie of a signed-in browser."
    )
    persisted_queries: int = Field(
        default=1_000,
        ge=0,
        le=100_000,
        description="Number of documents that a process keeps for automatic persisted queries; 0 turns them off.",
    )
    trusted_documents: str = Field(
        default="",
        description="JSON files that map IDs to documents, separated by commas. If set, no other document is executed.",
    )
    max_connections_per_key: int = Field(
        default=MAX_CONNECTIONS,
        ge=1,
        description="Largest number of connections for streams that one key may have open in one process.",
    )
    max_subscriptions_per_key: int = Field(
        default=MAX_SUBSCRIPTIONS,
        ge=1,
        description="Largest number of subscriptions that one key may have open in one process.",
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
    webhook_calls_per_minute: int = Field(
        default=6_000,
        ge=0,
        le=MAX_CALLS_PER_MINUTE,
        description="Calls that a webhook accepts in a minute, unless the webhook says otherwise; 0: no limit.",
    )
    report_costs: bool = Field(
        default=False,
        description="Report in `extensions.cost` of every response what its operation costs. Clients can ask for it.",
    )
    compiled_reads: bool = Field(
        default=True,
        description="True: the selections of queries are compiled, so that the database writes their JSON, and "
        "those of subscriptions, so that a result is rendered once for all subscribers that get the "
        "same, and written straight to their sockets. False: clients get the same responses and "
        "messages more slowly.",
    )
    public_url: str = Field(
        default="",
        description="The URL by which browsers reach the service, such as `https://example.org/flowruns`. Default: the"
        " URL of each request and the headers of trusted proxies.",
    )
    oidc_issuer: str = Field(
        default="", description="The OpenID provider through which people sign in, such as `https://id.example.org`."
    )
    oidc_client_id: str = Field(default="", description="The ID of the service as a client of the OpenID provider.")
    oidc_client_secret: SecretStr = Field(
        default=SecretStr(""), description="The secret of this client; empty for a public client."
    )
    oidc_scope: str = Field(
        default="openid profile email", description="The scope that is requested from the provider."
    )
    oidc_groups_claim: str = Field(
        default="groups",
        min_length=1,
        description="The claim with the groups of a person; a path such as `realm_access.roles` too.",
    )
    oidc_roles: str = Field(
        default="",
        description="The roles of groups: a JSON object from groups to roles, `ROLE` in the project `default`,"
        " `ROLE@project`, `ROLE@*` in all projects, or a list of these. The group `*` is every person.",
    )
    oidc_session_hours: float = Field(
        default=12.0, gt=0, le=720, description="Hours after which people have to sign in again."
    )
    oidc_label: str = Field(
        default="", max_length=80, description="The name of the provider on the sign-in page. Default: its host."
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
        default=0.005,
        ge=0,
        le=1,
        description="The share of requests and runs that are traced, unless their client says so in `traceparent`.",
    )
    log_level: str = Field(
        default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="The lowest level of log lines."
    )
    log_format: LogFormat = Field(
        default=LogFormat.CONSOLE, description="The format of log lines: `console` for people, `json` for machines."
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
                    "an origin must have the form that browsers send, `https://host` or `https://host:port` "
                    f"without a path, got {origin!r}"
                )
        return value

    @model_validator(mode="after")
    def _usable_mail_server(self) -> Self:
        try:
            self.mail_server  # noqa: B018 - raises
        except ValueError as error:
            raise PydanticCustomError(
                "mail", "FLOWRUNS_SMTP_URL and FLOWRUNS_MAIL_FROM: {reason}", {"reason": str(error)}
            ) from None
        return self

    @model_validator(mode="after")
    def _refuse_credentials_of_every_origin(self) -> Self:
        if self.cors_credentials and "*" in self.origins:
            raise PydanticCustomError("cors", "with FLOWRUNS_CORS_CREDENTIALS, FLOWRUNS_CORS_ORIGINS must list origins")
        return self

    @field_validator("public_url", "oidc_issuer")
    @classmethod
    def _web_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment):
            raise ValueError(f"the URL must be like https://host/path, without a query, got {value!r}")
        return value

    @field_validator("oidc_issuer")
    @classmethod
    def _safe_issuer(cls, value: str) -> str:
        if value and not is_safe_url(value):
            raise ValueError("the URL must begin with https://; http:// is for providers on this machine")
        return value

    @field_validator("oidc_scope")
    @classmethod
    def _openid_scope(cls, value: str) -> str:
        if "openid" not in value.split():
            raise ValueError("the scope must contain `openid`")
        return value

    @field_validator("oidc_roles")
    @classmethod
    def _known_roles(cls, value: str) -> str:
        grants.parse(value)
        return value

    @model_validator(mode="after")
    def _complete_sign_in(self) -> Self:
        needed = {"ISSUER": self.oidc_issuer, "CLIENT_ID": self.oidc_client_id, "ROLES": self.oidc_roles}
        missing = [f"FLOWRUNS_OIDC_{name}" for name, value in needed.items() if not value]
        if missing and len(missing) < len(needed):
            raise PydanticCustomError("oidc", f"sign-in through an OpenID provider also needs {' and '.join(missing)}")
        return self

    @field_validator("files_url")
    @classmethod
    def _known_store(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme in BUCKETS and not parts.netloc:
            raise ValueError("the URL names no bucket")
        if parts.scheme not in ("", "file", *BUCKETS):
            known = ", ".join(f"{name}://" for name in BUCKETS)
            raise ValueError(f"the location must be a folder, or a URL that begins with {known}")
        return value

    @property
    def uses_proxies(self) -> bool:
        """True if `http` steps use the proxies that the environment names."""
        return self.http_allow_private if self.http_use_proxies is None else self.http_use_proxies

    @property
    def mail_server(self) -> MailServer | None:
        """Returns the mail server for alerts; None if there is none."""
        url = self.smtp_url.get_secret_value()
        return MailServer.of(url, self.mail_from) if url else None

    @property
    def files_location(self) -> str:
        """Returns the folder or URL of the file store."""
        database_file = self.database_file or Path(".flowruns/database")
        return self.files_url or str(database_file.parent.absolute() / FILES_FOLDER)

    @property
    def action_modules(self) -> list[str]:
        """Returns the modules that `actions` names."""
        return _listed(self.actions)

    @property
    def origins(self) -> list[str]:
        """Returns the origins that `cors_origins` lists."""
        return _listed(self.cors_origins)

    @property
    def trusted_document_files(self) -> list[Path]:
        """Returns the files that `trusted_documents` names."""
        return [Path(name) for name in _listed(self.trusted_documents)]

    @property
    def token_key_list(self) -> list[str]:
        """Returns the keys that `token_keys` lists."""
        return _listed(self.token_keys.get_secret_value())

    @property
    def database_file(self) -> Path | None:
        """Returns the file of an SQLite database; None for PostgreSQL."""
        if pg_url.is_postgresql(self.database_url):
            return None
        return Path(make_url(self.database_url).database or "")


def _listed(value: str) -> list[str]:
    """Returns the parts of a list that is separated by commas."""
    return [part.strip() for part in value.split(",") if part.strip()]
