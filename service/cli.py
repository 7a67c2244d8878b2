"""The command line: `python -m service COMMAND`."""

import asyncio
import json
import logging
import signal
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import uvicorn
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError

from db import api_keys, flows, projects
from db import secrets as db_secrets
from db.assembly import open_database
from db.core import pg_notify
from db.core.database import Database
from db.core.postgres import ConnectionFailedError
from db.core.unit_of_work import UnitOfWork
from db.migrate import MigrationError, first_line
from db.migrate import problem as problem_of_schema
from db.rollups import upkeep
from db.rollups.check import Difference, NotCountedError, differences
from domain import ids
from domain.enums import Role
from domain.errors import FlowRunsError
from domain.ids import IdKind
from domain.observation.observer import SILENT
from domain.observation.spans import NO_TRACES
from domain.time import clock, iso_duration
from domain.time.iso_duration import IsoDuration
from engine.actions import ActionLoadError
from engine.compiled_flow import FlowCache, check
from engine.secrets.key_ring import new_key
from engine.secrets.rewrap import rewrap
from engine.worker.maintenance import count_old_runs
from resolvers import flows as flow_changes
from schema.build import sdl
from service.asgi import WEB, create_service
from service.bootstrap import Bootstrapped, bootstrap
from service.commands.backup import backup
from service.commands.database import command_origin, with_database
from service.commands.database import migrate as migrate_database
from service.commands.drain import drain, undrain
from service.commands.search import search
from service.http.pages import Pages
from service.keys.secret_keys import load_key_ring, report_missing_keys
from service.listening import listen, listen_for_metrics
from service.log_output import configure_logging
from service.metrics.collector import Metrics
from service.metrics.server import serving
from service.queue_cli import queues, workers
from service.runs_cli import runs
from service.server import freeze_gc, server_config
from service.settings import Settings
from service.traces.loading import load_tracer
from service.worker import Worker

_logger = logging.getLogger(__name__)
MIGRATION_SECONDS = 2.0
"""Seconds between two checks of a worker that waits until the database is migrated."""
MAX_DIFFERENCES = 100
"""Largest number of wrong counts that `check` prints one by one."""


class _Commands(click.Group):
    """Ends each command that fails with one sentence, and exit status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command. Raises ClickException if the database, a folder or an address cannot be used."""
        try:
            return super().invoke(ctx)
        except (ConnectionFailedError, MigrationError, ActionLoadError) as error:
            raise click.ClickException(str(error)) from None
        except FlowRunsError as error:
            raise click.ClickException(_sentence(error)) from None


def _sentence(error: FlowRunsError) -> str:
    """Returns the reason of an error for the operator. The API does not show it."""
    cause = error.__cause__
    if isinstance(cause, ConnectionFailedError):
        return str(cause)
    if isinstance(cause, DBAPIError):
        return f"The database cannot be used: {first_line(cause.orig)}."
    return error.message


@click.group(
    cls=_Commands, help="Flow Runs: a GraphQL service over flow runs. Settings come from the environment, see README."
)
@click.pass_context
def main(context: click.Context) -> None:
    """Read the settings for every command."""
    try:
        settings = Settings()
    except ValidationError as error:
        problems = (
            ": ".join((*(f"FLOWRUNS_{str(name).upper()}" for name in problem["loc"][:1]), problem["msg"]))
            for problem in error.errors()
        )
        raise click.ClickException("; ".join(problems)) from None
    configure_logging(settings.log_level, settings.log_format, settings.action_modules)
    context.obj = settings


main.commands.update(
    runs=runs, search=search, workers=workers, queues=queues, backup=backup, drain=drain, undrain=undrain
)


@main.command(help="Migrate the database, prepare the first start, and run API and worker in one process.")
@click.pass_obj
def serve(settings: Settings) -> None:
    """Everything in one process."""
    migrate_database(settings)
    _run_server(settings, with_worker=True)


@main.command(help="Run only the API. `worker` processes execute the runs.")
@click.pass_obj
def api(settings: Settings) -> None:
    """The API alone."""
    _run_server(settings, with_worker=False)


@main.command(help="Execute runs, without an API.")
@click.pass_obj
def worker(settings: Settings) -> None:
    """A worker alone."""
    asyncio.run(_work(settings))


@main.command(help="Bring the database to the newest schema.")
@click.pass_obj
def migrate(settings: Settings) -> None:
    """Migrate."""
    migrate_database(settings)


@main.command("check", help="Compare the kept counts of runs with the runs; ends with 1 if they differ.")
@click.option("--repair", is_flag=True, help="Count all runs again if a count is wrong. The service keeps running.")
@click.pass_obj
def check_counts(settings: Settings, repair: bool) -> None:
    """Check the counts of runs."""
    found = with_database(settings, lambda database: _checked(database, repair=repair))
    for difference in found[:MAX_DIFFERENCES]:
        click.echo(difference)
    if len(found) > MAX_DIFFERENCES:
        click.echo(f"{len(found) - MAX_DIFFERENCES:,} more counts are wrong.")
    if not found:
        click.echo("The counts agree with the runs.")
    elif repair:
        click.echo("All runs were counted again.")
    else:
        click.echo("With --repair, all runs are counted again.")
        raise SystemExit(1)


async def _checked(database: Database, *, repair: bool) -> Sequence[Difference]:
    """Returns the counts that are wrong. Counts the runs first if they have not been counted yet."""
    await count_old_runs(database)
    try:
        found = await database.read(differences)
    except NotCountedError:
        raise click.ClickException("Another process is counting old runs. Try again later.") from None
    if found and repair:
        await database.write(upkeep.start_again)
        await count_old_runs(database)
        if await database.read(differences):
            raise click.ClickException("Counts are still wrong after all runs were counted again.")
    return found


@main.command(help="Print the GraphQL schema.")
def schema() -> None:
    """Print the SDL."""
    click.echo(sdl(), nl=False)


def _duration(_: click.Context, __: click.Parameter, text: str | None) -> IsoDuration | None:
    """Reads an option with a duration."""
    try:
        return iso_duration.parse(text) if text is not None else None
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _end_of(duration: IsoDuration | None) -> datetime | None:
    """Returns the end of a duration that begins now."""
    try:
        return duration.after(clock.now()) if duration is not None else None
    except ValueError as error:
        raise click.ClickException(f"The duration {error}.") from None


@main.group(help="Create, list, rotate and revoke API keys.")
def key() -> None:
    """API keys."""


@key.command("create", help="Create a key and print its secret, which cannot be read again.")
@click.option("--name", required=True, help="The purpose of the key.")
@click.option("--role", type=click.Choice([role.value for role in Role]), default=Role.VIEWER.value)
@click.option("--project", default=projects.DEFAULT_NAME, help="Its project; created if it does not exist.")
@click.option("--operator", is_flag=True, help="A key for all projects.")
@click.option("--expires-in", callback=_duration, help="The lifetime of the key, such as P90D. Default: unlimited.")
@click.pass_obj
def create_key(
    settings: Settings, name: str, role: str, project: str, operator: bool, expires_in: IsoDuration | None
) -> None:
    """Create a key."""
    expires_at = _end_of(expires_in)

    def work(uow: UnitOfWork) -> str:
        owner = None if operator else projects.by_name(uow.conn, project) or projects.create(uow, project)
        return api_keys.create(
            uow, project_id=owner, role=Role(role), name=name, expires_at=expires_at, origin=command_origin()
        )

    click.echo(with_database(settings, lambda database: database.write(work)))


@key.command("list", help="List the keys, without their secrets.")
@click.pass_obj
def list_keys(settings: Settings) -> None:
    """List the keys."""
    for row in with_database(settings, lambda database: database.read(api_keys.listed)):
        state = "revoked" if row.revoked_at else f"until {row.expires_at:%Y-%m-%d}" if row.expires_at else "valid"
        owner = row.project or "all projects"
        used = f"used {row.last_used_at:%Y-%m-%d %H:%M}" if row.last_used_at else "not used"
        shown = ids.encode(IdKind.API_KEY, row.id)
        click.echo(f"{shown}  {row.hint}…  {row.role:8}  {owner}  {state}  {used}  {row.name}")


@key.command("rotate", help="Create a key that replaces KEY_ID, which expires after the overlap; print its secret.")
@click.argument("key_id")
@click.option("--overlap", default="P1D", callback=_duration, help="The time for which the old key remains valid.")
@click.option("--expires-in", callback=_duration, help="The lifetime of the new key. Default: that of the old key.")
@click.pass_obj
def rotate_key(settings: Settings, key_id: str, overlap: IsoDuration, expires_in: IsoDuration | None) -> None:
    """Replace a key."""
    decoded, expires_at, old_ends_at = _key_id(key_id), _end_of(expires_in), overlap.after(clock.now())

    def work(uow: UnitOfWork) -> str | None:
        row = api_keys.locked(uow, decoded)
        if row is None or not api_keys.active_ids(uow.conn, [decoded]):
            return None
        return api_keys.rotate(uow, row, old_ends_at, expires_at, ids.new_uuid(), command_origin())

    secret = with_database(settings, lambda database: database.write(work))
    if secret is None:
        raise click.ClickException("No active key with this ID.")
    click.echo(secret)


@key.command("revoke", help="End a key.")
@click.argument("key_id")
@click.pass_obj
def revoke_key(settings: Settings, key_id: str) -> None:
    """End a key."""
    decoded = _key_id(key_id)
    if not with_database(settings, lambda database: database.write(api_keys.revoke, decoded, command_origin())):
        raise click.ClickException("No active key with this ID.")


def _key_id(text: str) -> UUID:
    try:
        return ids.decode(IdKind.API_KEY, text)
    except FlowRunsError as error:
        raise click.ClickException(error.message) from None


@main.group(help="Publish flows from files.")
def flow() -> None:
    """Flows."""


@flow.command(
    "publish",
    help="Publish FILE, a definition in JSON, as the next version of a flow. Creates the flow if it does not exist.",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", help="The flow's name. Default: the file's name without its extension.")
@click.option("--project", default=projects.DEFAULT_NAME, help="The flow's project.")
@click.pass_obj
def publish_flow(settings: Settings, file: Path, name: str | None, project: str) -> None:
    """Publish a flow."""
    try:
        checked = check(json.loads(file.read_bytes()))
    except (ValueError, FlowRunsError) as error:
        raise click.ClickException(f"{file}: {error}") from None

    def work(uow: UnitOfWork) -> UUID:
        owner = projects.by_name(uow.conn, project)
        if owner is None:
            raise click.ClickException(f"No project named {project!r}.")
        called, origin = name or file.stem, command_origin()
        flow_id = flows.by_name(uow.conn, owner, called)
        if flow_id is None:
            return flow_changes.create_checked(uow, origin, owner, called, checked)
        flow_changes.publish_checked(uow, origin, flow_id, owner, checked)
        return flow_id

    click.echo(ids.encode(IdKind.FLOW, with_database(settings, lambda database: database.write(work))))


@main.group(help="Manage the keys that encrypt secrets.")
def secrets() -> None:
    """Keys of secrets."""


@secrets.command("new-key", help="Print a new random key for FLOWRUNS_SECRET_KEYS.")
def new_secret_key() -> None:
    """Print a new key."""
    click.echo(new_key())


@secrets.command("keys", help="List the keys in use, each with the number of texts that it has encrypted.")
@click.pass_obj
def list_secret_keys(settings: Settings) -> None:
    """List the keys of secrets."""
    keys = load_key_ring(settings)
    counts = with_database(settings, lambda database: database.read(db_secrets.all_key_counts))
    for key_id in sorted({*keys.ids, *counts}):
        state = "encrypts" if key_id == keys.primary_id else "decrypts" if key_id in keys else "MISSING"
        click.echo(f"{key_id}  {state:8}  {counts.get(key_id, 0)} texts")


@secrets.command("rewrap", help="Encrypt all secrets again with the first key. Services may continue to run.")
@click.pass_obj
def rewrap_secrets(settings: Settings) -> None:
    """Encrypt all secrets again with the first key."""
    keys = load_key_ring(settings)
    if keys.primary_id is None:
        raise click.ClickException("There is no key. Set FLOWRUNS_SECRET_KEYS.")
    done = with_database(settings, lambda database: rewrap(database, keys))
    click.echo(
        f"{done.values} values, {done.outputs} redacted outputs, {done.signing_secrets} signing secrets of webhooks and"
        f" {done.texts} texts of endpoints, callbacks and alerts are encrypted by the key {keys.primary_id} now."
    )
    problems = list(done.problems())
    for problem in problems:
        click.echo(problem)
    if problems:
        raise SystemExit(1)


async def _work(settings: Settings) -> None:
    tracer = load_tracer(settings)
    database = open_database(
        settings.database_url, pool_size=settings.database_pool_size, is_traced=tracer is not NO_TRACES
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.to_thread, tracer.close)
        stack.push_async_callback(database.close)
        stopping = asyncio.Event()
        _on_stop(stopping.set)
        metrics = Metrics(database) if settings.metrics else None
        sockets = listen_for_metrics(settings, stack)
        if await _wait_for_migration(database, stopping):
            observer = metrics.recorder if metrics is not None else SILENT
            keys = load_key_ring(settings)
            worker = Worker(database, FlowCache(database), settings, keys, observer, tracer)
            if metrics is not None:
                metrics.watch_worker(worker)
                metrics.watch_files(worker.files)
            _on_stop(worker.stop)
            await report_missing_keys(database, keys)
            freeze_gc()
            await stack.enter_async_context(serving(metrics, sockets))
            await stack.enter_async_context(pg_notify.listen_for_other_processes(database, settings.database_url))
            await worker.run()


def _on_stop(stop: Callable[[], None]) -> None:
    """Calls only `stop` when the process is asked to end, instead of earlier handlers."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)


async def _wait_for_migration(database: Database, stopping: asyncio.Event) -> bool:
    """Waits until the database has the schema of this version. Returns False if the worker was stopped before.

    Raises:
        DatabaseUnavailableError: the database cannot be used.
    """
    if (problem := await database.read(problem_of_schema)) is not None:
        _logger.warning("worker waits for the migration of the database", extra={"reason": problem})
        while problem is not None and not stopping.is_set():
            await clock.sleep(MIGRATION_SECONDS)
            problem = await database.read(problem_of_schema)
        if problem is None:
            _logger.warning("database migrated, worker starts")
    return problem is None


def _run_server(settings: Settings, *, with_worker: bool) -> None:
    # Ctrl+C is the usual way to end the service, so it is not reported as a failure.
    with suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(settings, with_worker=with_worker))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Returns the factory of uvicorn's event loop, so that start-up before uvicorn runs uses the same loop."""
    # Without `log_config=None`, creating a Config gives uvicorn's loggers handlers of their own.
    return uvicorn.Config("", log_config=None).get_loop_factory()


async def _serve(settings: Settings, *, with_worker: bool) -> None:
    tracer = load_tracer(settings)
    database = open_database(
        settings.database_url,
        pool_size=settings.database_pool_size,
        query_timeout=settings.query_timeout,
        is_traced=tracer is not NO_TRACES,
    )
    async with AsyncExitStack() as stack:
        # Closes the database if the start fails. Otherwise the process would wait for the threads of SQLite.
        failed = await stack.enter_async_context(AsyncExitStack())
        failed.push_async_callback(database.close)
        if (problem := await database.read(problem_of_schema)) is not None:
            raise click.ClickException(problem)
        # The sockets are opened before the first start creates a key, which is shown only once.
        sockets = listen(settings.host, settings.port, stack, "FLOWRUNS_HOST or FLOWRUNS_PORT")
        metrics_sockets = listen_for_metrics(settings, stack)
        try:
            found = await bootstrap(database, settings)
        except OSError as error:
            raise click.ClickException(f"The file {error.filename} cannot be written: {error.strerror}.") from None
        service = create_service(
            settings,
            database,
            found.project_id,
            with_worker=with_worker,
            with_standby=not with_worker,
            tracer=tracer,
        )
        config = server_config(
            service.app,
            host=settings.host,
            port=settings.port,
            log_config=None,  # uvicorn's lines go to the handler of `configure_logging`.
            access_log=False,
            timeout_graceful_shutdown=int(settings.shutdown_grace_seconds),
        )
        failed.pop_all()  # From here on the application closes the database.
        async with serving(service.metrics, metrics_sockets):
            server = _Server(
                config, lambda url: _greet(url, _shown_key(settings, found), service.sessions.issue_token())
            )
            await server.serve(sockets)


_LOOPBACKS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (nothing is bound to them here)


class _Server(uvicorn.Server):
    """A uvicorn server that prints its address when it listens."""

    def __init__(self, config: uvicorn.Config, started: Callable[[str], None]) -> None:
        super().__init__(config)
        self._started = started

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self.started:
            # uvicorn does not log this for sockets that it is given.
            self._log_started_message(self.servers[0].sockets)
            freeze_gc()
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            # Where a socket takes connections for every address of the machine, its own address is no destination.
            host = _LOOPBACKS.get(host, host)
            self._started(f"http://{f'[{host}]' if ':' in host else host}:{port}")


def _greet(url: str, key: str, token: str) -> None:
    console = "Open this in a browser to sign in. The link works once, within an hour:"
    if not Pages(WEB).are_built:
        console = "The console is not built; scripts/build-web explains why. When it is built, this link signs you in:"
    click.echo(f"\n  Flow Runs is ready at {url}\n\n  {console}\n\n    {url}/sign-in?token={token}\n")
    click.echo("  Or send a request from a shell:\n")
    click.echo(f"    curl -s {url}/graphql -H 'content-type: application/json' \\")
    click.echo(f'      -H "authorization: Bearer {key}" \\')
    click.echo("""      -d '{"query": "{ flows { nodes { id name } } }"}'\n""")


def _shown_key(settings: Settings, found: Bootstrapped) -> str:
    """Returns the ADMIN key for a shell. The key of the settings is not printed: platforms keep the output."""
    if found.key_file is not None:
        return f"$(cat {found.key_file})"
    if settings.bootstrap_key is not None:
        return "$FLOWRUNS_BOOTSTRAP_KEY"
    return found.new_secret or "$FLOWRUNS_KEY"
