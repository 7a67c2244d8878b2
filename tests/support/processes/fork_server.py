"""Processes of the service in milliseconds: `python -m tests.support.processes.fork_server SOCKET`.

The imports of `python -m service` take seconds of processor time, and the tests start it dozens of times. This process
makes them once, and forks for each process that is asked for through its socket (fork_client.py, commands.Fork). It
ends with its input.
"""

import json
import os
import runpy
import select
import signal
import socket
import sys
from contextlib import suppress
from typing import Any

import service.cli  # noqa: F401 - what it imports, no fork has to import

_REQUEST_BYTES = 1_000_000


def main() -> None:
    """Fork for each request until the input ends. A fork becomes `python -m` and the module of the request."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(sys.argv[1])
        listener.listen()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        connection = _next_in_fork(listener)
    if connection is not None:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _become(_request_in_fork(connection))


def _next_in_fork(listener: socket.socket) -> socket.socket | None:
    """Fork for each connection, and return it in the fork; None in this process, at the end of its input."""
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        if os.fork() == 0:
            return connection
        connection.close()
    return None


def _request_in_fork(connection: socket.socket) -> dict[str, Any]:
    """Fork, and return the request in the fork. This process waits for the fork, and tells the client how it ended."""
    message, given, _, _ = socket.recv_fds(connection, _REQUEST_BYTES, 3)
    while not message.endswith(b"\n"):
        message += connection.recv(_REQUEST_BYTES)
    until_it_ends, held_by_it = os.pipe()
    process = os.fork()
    if process == 0:
        connection.close()
        os.close(until_it_ends)
        for number, descriptor in enumerate(given):
            os.dup2(descriptor, number)
            os.close(descriptor)
        request: dict[str, Any] = json.loads(message)
        return request
    for descriptor in (0, 1, 2, held_by_it, *given):
        os.close(descriptor)
    with suppress(BrokenPipeError):
        connection.sendall(f"{process}\n".encode())
        if connection.fileno() in select.select([connection.fileno(), until_it_ends], [], [])[0]:
            # The client was killed, and with it, as far as the test knows, the process.
            os.kill(process, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        connection.sendall(f"{code}\n".encode())
    os._exit(0)


def _become(request: dict[str, Any]) -> None:
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.argv[1:] = request["arguments"]
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
