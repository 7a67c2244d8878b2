"""The commands `python -m service search …`: the search of inputs, outputs and logs."""

import click

from db.search import switch
from engine.worker import maintenance
from service.commands.database import with_database
from service.settings import Settings


@click.group(help="Search in the inputs, outputs and logs of all runs: on, off, fill, status.")
def search() -> None:
    """The search."""


@search.command("on", help="Make the index, and fill it with the texts of all runs.")
@click.pass_obj
def switch_on(settings: Settings) -> None:
    """Switch the search on."""
    with_database(settings, lambda database: database.write(switch.switch_on))
    _fill(settings)


@search.command(help="Go on filling the index; workers do so too.")
@click.pass_obj
def fill(settings: Settings) -> None:
    """Fill the search."""
    _fill(settings)


@search.command("off", help="Drop the index, and all that it takes.")
@click.pass_obj
def switch_off(settings: Settings) -> None:
    """Switch the search off."""
    with_database(settings, lambda database: database.write(switch.switch_off))
    click.echo("The search is off.")


@search.command(help="Tell whether the search is on, and whether it has all runs.")
@click.pass_obj
def status(settings: Settings) -> None:
    """Tell how far the search is."""
    found = with_database(settings, lambda database: database.read(switch.state))
    click.echo("on" if found.is_complete else "on, not filled yet" if found.is_on else "off")


def _fill(settings: Settings) -> None:
    total = with_database(settings, maintenance.fill_search)
    if not with_database(settings, lambda database: database.read(switch.state)).is_on:
        raise click.ClickException("The search is off: `search on` makes its index.")
    click.echo(f"The search is on, and has all runs; {total:,} were added.")
