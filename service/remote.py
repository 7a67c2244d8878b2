"""What the commands share that reach a service through its API: where it is, the key, and how results are printed."""

import json
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from service.api_client import ApiClient, ApiError


class Output:
    """Prints for people, or one JSON value a line."""

    def __init__(self, client: ApiClient, *, as_json: bool) -> None:
        self.client = client
        self.as_json = as_json

    def value(self, value: Any, *texts: str) -> None:
        """Prints `value` as JSON, or the texts for people."""
        for text in (json.dumps(value),) if self.as_json else texts:
            click.echo(text)


class RemoteCommand(click.Command):
    """A command through the API."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; what the service refuses ends it with one sentence and exit status 1."""
        try:
            return super().invoke(ctx)
        except ApiError as error:
            raise click.ClickException(str(error)) from None


class RemoteGroup(RemoteCommand, click.Group):
    """A group of commands through the API."""


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--url", envvar="FLOWRUNS_URL", default="http://127.0.0.1:8000", show_default=True, help="The service."
    ),
    click.option("--key", envvar="FLOWRUNS_KEY", required=True, help="The API key. Prefer the variable FLOWRUNS_KEY."),
    click.option("--json", "as_json", is_flag=True, help="Print JSON, one value on each line."),
)


def connecting(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command or a group the options of a connection, and an `Output` as the object of its context."""

    @wraps(command)
    def connected(context: click.Context, /, url: str, key: str, as_json: bool, **more: Any) -> None:
        context.obj = Output(ApiClient(url, key), as_json=as_json)
        command(**more)

    decorated: Callable[..., None] = click.pass_context(connected)
    for add in reversed(_OPTIONS):
        decorated = add(decorated)
    return decorated
