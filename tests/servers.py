"""Raw servers on loopback, for what the sandbox is too well-behaved to do."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

GOOD_BODY = b'{"success": true, "code": 200, "credits": {"creditSms": 7}}'
GOOD_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(GOOD_BODY), GOOD_BODY)
"""What a server says that keeps its connection open."""


@contextmanager
def serving(serve: Callable[[socket.socket], object], tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Hand each connection to ``serve``, in a thread of its own, and close it after; yield the port."""

    def handle(connection: socket.socket) -> None:
        with connection, suppress(OSError):  # whoever asked has gone
            if tls is None:
                serve(connection)
            else:
                with tls.wrap_socket(connection, server_side=True) as secured:
                    serve(secured)

    def accept() -> None:
        with suppress(OSError):  # the listener was closed, as the test is over
            while True:
                Thread(target=handle, args=[listener.accept()[0]], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=accept, daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def answer_each_request(connection: socket.socket) -> None:
    """Answer well, as long as anybody asks."""
    while connection.recv(65536):
        connection.sendall(GOOD_ANSWER)


class Clients:
    """
    A server that answers well, and tells what becomes of its clients.

    :param asked: whether one has asked
    :param closed: whether one has closed its connection
    """

    def __init__(self) -> None:
        self.asked, self.closed = Event(), Event()
        self.port = 0

    def __call__(self, connection: socket.socket) -> None:
        while connection.recv(65536):
            connection.sendall(GOOD_ANSWER)
            self.asked.set()
        self.closed.set()
