"""The commands `drain` and `undrain`, for the time of maintenance."""

import click

from db import audit_events
from db.core import pg_notify
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.queue import holds
from domain.audit import AuditAction
from domain.ids import IdKind
from domain.time import clock
from engine.worker.dispatcher import DispatcherSettings
from resolvers.values import MAX_TEXT_LENGTH
from service.commands.database import command_origin, with_database
from service.settings import Settings


@click.command(
    help="Let no worker take a run, and wait until the runs under way have ended or wait for something. Runs, schedules"
    " and webhooks go on to queue runs. It lasts until `undrain`, whatever is restarted before."
)
@click.option("--reason", help="Why, for others.")
@click.option("--no-wait", is_flag=True, help="Do not wait.")
@click.pass_obj
def drain(settings: Settings, reason: str | None, no_wait: bool) -> None:
    """Let no worker take a run."""
    if reason is not None and not 1 <= len(reason) <= MAX_TEXT_LENGTH:
        raise click.ClickException(f"A reason has 1 to {MAX_TEXT_LENGTH} characters.")

    def work(uow: UnitOfWork) -> bool:
        origin = command_origin()
        changed = holds.drain(uow, reason, origin.actor)
        if changed:
            details = {"reason": reason}
            audit_events.record(uow, origin, AuditAction.DRAIN, IdKind.HOLD, holds.DRAIN, None, details=details)
        return changed

    async def run(database: Database) -> None:
        changed = await database.write(work)
        click.echo("Workers take no more runs." if changed else "Workers took no runs already.")
        if not no_wait:
            await _wait(database)

    with_database(settings, run)


async def _wait(database: Database) -> None:
    # A worker looks once in an interval: until then it may still take runs.
    seconds = 2 * DispatcherSettings().interval
    await clock.sleep(seconds)
    shown = None
    while (count := await database.read(holds.executing)) > 0:
        if count != shown:
            click.echo(f"{count} runs are under way.")
            shown = count
        await clock.sleep(seconds)
    click.echo("No run is under way.")


@click.command(help="Let workers take runs again.")
@click.pass_obj
def undrain(settings: Settings) -> None:
    """Let workers take runs again."""

    def work(uow: UnitOfWork) -> bool:
        changed = holds.undrain(uow)
        if changed:
            audit_events.record(uow, command_origin(), AuditAction.UNDRAIN, IdKind.HOLD, holds.DRAIN, None)
        return changed

    async def run(database: Database) -> None:
        async with pg_notify.listen_for_other_processes(database, settings.database_url):
            changed = await database.write(work)
        click.echo("Workers take runs." if changed else "Workers took runs already.")

    with_database(settings, run)
