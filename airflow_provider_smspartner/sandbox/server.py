"""The HTTP server of the sandbox: on loopback, quiet, and gone without a trace when it is stopped."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR, socket
from socketserver import TCPServer
from typing import Any, Protocol

from airflow_provider_smspartner.sandbox.answers import BODILESS, Answer

HOST = "127.0.0.1"


class Responder(Protocol):
    """Whoever decides on the answers."""

    def connected(self) -> None:
        """Hear of a TCP connection."""

    def respond(self, method: str, target: str, headers: Message, stopping: threading.Event) -> Answer | None:
        """Return the answer to a request, or None to close the connection without one."""


class Server(ThreadingHTTPServer):
    """Serve a responder from a thread for each connection."""

    request_queue_size = 128  # beyond the default of 5, a burst of clients waits a second and more to connect

    def __init__(self, responder: Responder, port: int) -> None:
        self.responder = responder
        self.stopping = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), name="SMSPartnerSandbox", daemon=True)
        self._open: dict[socket, threading.Thread] = {}
        self._open_lock = threading.Lock()
        super().__init__((HOST, port), _Handler)

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Close the port and cut every connection; return when no thread is left."""
        self.shutdown()
        with self._open_lock:
            handlers = list(self._open.values())
            for connection in self._open:
                with suppress(OSError):  # the client was faster
                    connection.shutdown(SHUT_RDWR)
        self.stopping.set()
        self.server_close()
        for thread in (self._thread, *handlers):
            thread.join()

    def server_bind(self) -> None:
        """Bind without asking the resolver for the host's name, which nobody reads and may take seconds."""
        TCPServer.server_bind(self)
        self.server_port = self.socket.getsockname()[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread, and remember it: ThreadingMixIn forgets its daemon threads."""
        handler = threading.Thread(target=self.process_request_thread, args=(request, client_address), daemon=True)
        with self._open_lock:
            self._open[request] = handler
        self.responder.connected()
        handler.start()

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that has ended."""
        with self._open_lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print what failed, but for clients that hang up, as they may."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes, and a delayed ACK between them costs 40 ms

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):  # http.server looks for one method per HTTP method, and answers 501 without
            return self._respond
        raise AttributeError(name)

    def _respond(self) -> None:
        answer = self.server.responder.respond(self.command, self.path, self.headers, self.server.stopping)
        if answer is None:
            self.close_connection = True
        else:
            self._send(answer)

    def _send(self, answer: Answer) -> None:
        body = answer.body.encode() if isinstance(answer.body, str) else answer.body
        headers = dict(answer.headers)
        if answer.status not in BODILESS:
            headers = {"Content-Type": answer.content_type, "Content-Length": str(len(body))} | headers
            if self.command != "GET" or headers["Content-Length"] != str(len(body)):
                headers["Connection"] = "close"  # bytes missing here, or unread there, would pass for the next message
        self.send_response(answer.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return "SMSPartnerSandbox"

    def log_message(self, *_: Any) -> None:
        """Say nothing: the request line holds the key."""
