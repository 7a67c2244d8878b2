"""A process that sends one message by Apprise: reads a request as JSON, writes the result as JSON.

Apprise is imported in a process of its own. Its plugins take seconds to load, block while they send, and follow
whatever a URL asks for. Here a guard of the interpreter refuses each connection to an address that is not allowed, also
after a redirect or a second look-up of a name, and the parent ends the process when its time is over. Files of this
machine are out of reach: a target could name one as a template or a key, and requests would take a password for the
host from the file `.netrc`.
"""

import json
import logging
import os
import sys
from ipaddress import ip_address
from typing import Any

import apprise
import requests
from apprise.attachment.file import AttachFile
from requests.adapters import HTTPAdapter

from domain import reasons
from engine.steps.network import public_only

_PROBLEMS: list[str] = []
_REASONS: list[str] = []
"""Why connections failed."""


class _Collector(logging.Handler):
    """Collects why a message was not accepted."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps the text of a record."""
        _PROBLEMS.append(record.getMessage())


def _refuse_private(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuses connections to addresses that are not on the public internet."""
    if event not in ("socket.connect", "socket.sendto"):
        return
    address = arguments[1]
    host = address[0] if isinstance(address, tuple) else address
    try:
        is_allowed = isinstance(host, str) and public_only(ip_address(host.partition("%")[0]))
    except ValueError:  # a name, or the path of a socket
        is_allowed = False
    if not is_allowed:
        raise PermissionError("The target is not on the public internet.")


def _collect_reasons() -> None:
    """Lets each failed connection say why it failed: plugins report only that it did, and the text of the library has
    the URL with its tokens."""
    send = HTTPAdapter.send

    def send_and_collect(*args: Any, **more: Any) -> requests.Response:
        try:
            return send(*args, **more)
        except requests.RequestException as error:
            _REASONS.append(reasons.of_connection(reasons.root_of(error)))
            raise

    HTTPAdapter.send = send_and_collect  # type: ignore[method-assign]


def _send(request: dict[str, Any]) -> str | None:
    """Sends a message; returns why it was not sent, None if it was."""
    if request["is_guarded"]:
        sys.addaudithook(_refuse_private)
    AttachFile.location = apprise.ContentLocation.INACCESSIBLE
    os.environ["NETRC"] = os.devnull
    asset = apprise.AppriseAsset(app_id="Flow Runs", app_url="", async_mode=False, secure_logging=True)
    plugin = apprise.Apprise.instantiate(request["url"], asset=asset, suppress_exceptions=True)
    if plugin is None:
        return f"Apprise does not understand this {request['url'].partition(':')[0][:20]} URL."
    # Others speak to this machine, such as dbus, or not over HTTP. E-mail goes over the server of the operator.
    if not hasattr(sys.modules[type(plugin).__module__], "requests"):
        return "Only services over HTTP are supported, and `mailto:` for e-mail."
    _collect_reasons()
    if plugin.notify(title=request["title"], body=request["body"], body_format=apprise.NotifyFormat.TEXT):
        return None
    problem = _PROBLEMS[-1] if _PROBLEMS else "The service did not accept the message."
    return f"{problem} ({_REASONS[-1]})" if _REASONS else problem


def main() -> None:
    """Serves one request."""
    logger = logging.getLogger("apprise")
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    logger.addHandler(_Collector())
    print(json.dumps({"problem": _send(json.load(sys.stdin))}))  # noqa: T201 - the result


if __name__ == "__main__":
    main()
