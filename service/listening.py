"""Binds the ports of a process before it begins its work: one that is taken is found out at once."""

import socket
from contextlib import AsyncExitStack

import click

from service.settings import Settings


def listen(host: str, port: int, stack: AsyncExitStack, settings: str) -> list[socket.socket]:
    """Returns sockets that are bound to all addresses of `host`; `stack` closes them. `settings` say where.

    Raises:
        ClickException: an address cannot be used.
    """
    bound = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(found):
            opened = stack.enter_context(socket.socket(family, kind, protocol))
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            opened.bind(address)
            bound.append(opened)
    except OSError as error:
        raise click.ClickException(
            f"Cannot listen on {host}, port {port}: {error.strerror}. Correct {settings}."
        ) from None
    return bound


def listen_for_metrics(settings: Settings, stack: AsyncExitStack) -> list[socket.socket]:
    """Returns the sockets where metrics are read; none if nothing is measured."""
    if not settings.metrics:
        return []
    named = "FLOWRUNS_METRICS_HOST or FLOWRUNS_METRICS_PORT"
    return listen(settings.metrics_host, settings.metrics_port, stack, named)
