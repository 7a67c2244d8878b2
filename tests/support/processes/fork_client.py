"""Stands for a process that `fork_server.py` forks: has its input and output, passes signals on, and ends as it does.

Python alone, without any import that takes time: `python -ISE fork_client.py SOCKET MODULE ARGUMENTS…`.
"""

import json
import os
import signal
import socket
import sys


def main() -> None:
    """Ask for a process, wait for it, and end with its exit code or by its signal."""
    path, module, *arguments = sys.argv[1:]
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        folder = os.getcwd()  # noqa: PTH109 - an import less
        request = {"module": module, "arguments": arguments, "environment": dict(os.environ), "folder": folder}
        socket.send_fds(server, [json.dumps(request).encode() + b"\n"], [0, 1, 2])
        process = int(_line(server))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: os.kill(process, number))
        # The server kills the process if this one is gone, as it is after a SIGKILL.
        code = int(_line(server))
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


def _line(server: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        part = server.recv(64)
        if not part:
            sys.exit("the fork server is gone")
        line += part
    return line


if __name__ == "__main__":
    main()
