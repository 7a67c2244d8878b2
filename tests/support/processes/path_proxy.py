"""A proxy that serves a service below a path, as companies do that have one host for many services."""

import re
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

_CONNECTION = re.compile(rb"\r\nconnection: (?!upgrade)[^\r]*", re.IGNORECASE)


@contextmanager
def below_path(url: str, path: str) -> Iterator[str]:
    """Serves the service at `url` below a path of another port; the context's value is the URL there."""
    upstream = urlsplit(url)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            head = b""
            while b"\r\n\r\n" not in head:
                if not (data := self.request.recv(65_536)):
                    return
                head += data
            method, target, rest = head.split(b" ", 2)
            if not target.startswith(path.encode() + b"/"):
                self.request.sendall(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                return
            line, rest = rest.split(b"\r\n", 1)
            head, body = rest.split(b"\r\n\r\n", 1)
            # One request for each connection, so that only the first bytes of it are a head.
            closing = b"" if b"upgrade: websocket" in head.lower() else b"\r\nconnection: close"
            head = _CONNECTION.sub(b"", b"\r\n" + head) + closing
            added = f"\r\nx-forwarded-prefix: {path}".encode()
            with socket.create_connection((upstream.hostname or "", upstream.port or 80)) as there:
                below = target.removeprefix(path.encode())
                there.sendall(method + b" " + below + b" " + line + head + added + b"\r\n\r\n" + body)
                back = threading.Thread(target=_copy, args=(there, self.request))
                back.start()
                _copy(self.request, there)
                back.join()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}{path}"
        server.shutdown()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
