"""Play a fault on loopback, until it is over: by the sandbox where it can, else by a raw socket."""

from __future__ import annotations

import socket
import ssl
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any

import trustme

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from tests.faults.faults import ACCOUNT, Answer, Certificate, Ear, Fault, Nowhere, Then, Wire

HOST = "127.0.0.1"
HEALTHY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" + ACCOUNT
DRIP_SECONDS = 0.05
ABORT = struct.pack("ii", 1, 0)
"""SO_LINGER that has ``close`` send a reset."""

_attempts: Counter[object] = Counter()
"""This process's attempts to connect, by port and by address, and to resolve a name: whoever makes them, all count."""


def _count(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        _attempts.update(arguments[1][:2])
    elif event == "socket.getaddrinfo":
        host = arguments[0].decode() if isinstance(arguments[0], bytes) else arguments[0]
        # The "name" of a host that is an address says nothing of an attempt.
        _attempts[host] += not str(host)[0].isdigit()


sys.addaudithook(_count)


def attempts(port_or_host: int | str) -> int:
    """Return how often this process has tried to connect there, or to resolve that name."""
    return _attempts[port_or_host]


@dataclass(frozen=True)
class Certificates:
    """What servers can show, by name, and the bundle that the connection trusts."""

    contexts: Mapping[Certificate, ssl.SSLContext]
    bundle: Path


def make_certificates(folder: Path) -> Certificates:
    """Issue every certificate, right and wrong; leave the right authority's bundle in the folder."""
    authority, stranger, own = trustme.CA(), trustme.CA(), trustme.CA()
    now = datetime.now(UTC)
    day, year = timedelta(days=1), timedelta(days=365)
    issued = {
        Certificate.GOOD: authority.issue_cert(HOST),
        Certificate.WRONG_HOST: authority.issue_cert("elsewhere.example"),
        Certificate.STRANGER: stranger.issue_cert(HOST),
        Certificate.EXPIRED: authority.issue_cert(HOST, not_before=now - year, not_after=now - day),
        Certificate.NOT_YET: authority.issue_cert(HOST, not_before=now + day, not_after=now + year),
    }
    contexts = {name: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for name in Certificate}
    for name, certificate in issued.items():
        certificate.configure_cert(contexts[name])
    with own.cert_pem.tempfile() as itself, own.private_key_pem.tempfile() as its_key:
        contexts[Certificate.SELF_SIGNED].load_cert_chain(itself, its_key)
    bundle = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(bundle))
    return Certificates(contexts, bundle)


@dataclass
class Stage:
    """
    A fault that is on.

    :param url: the base URL where it is met, and ``extras`` of the connection to it
    :param requests: returns how often it was met: requests, or attempts where none gets that far
    :param end: ends it
    :param healthy: host and extras once it is over, where another answers then
    """

    url: str
    requests: Callable[[], int]
    end: Callable[[], None]
    extras: dict[str, Any] = field(default_factory=dict)
    healthy: dict[str, Any] = field(default_factory=dict)


@contextmanager
def stage(fault: Fault, sandbox: SMSPartnerSandbox, certificates: Certificates) -> Iterator[Stage]:
    """Play the fault."""
    play = fault.play
    if isinstance(play, Answer):
        yield _answered(play, sandbox)
    elif isinstance(play, Nowhere):
        url = f"http{'' if play.host.startswith('127.') else 's'}://{play.host}/v1"
        before = attempts(play.host)
        yield Stage(url, lambda: attempts(play.host) - before, lambda: None, healthy={"host": sandbox.url})
    else:
        with RawServer(play, certificates) as server:
            yield server.as_stage(sandbox.url)


def _answered(answer: Answer, sandbox: SMSPartnerSandbox) -> Stage:
    played = dict(answer.played)
    if answer.retry_date is not None:
        at = datetime.now(UTC) + timedelta(seconds=answer.retry_date)
        played["headers"] = {"Retry-After": format_datetime(at, usegmt=True)}
    sandbox.fail_next(times=None, **played)
    return Stage(sandbox.url, lambda: sandbox.requests, sandbox.recover, dict(answer.extras))


class RawServer:
    """Does to each connection what the wire says, and answers well once that is over."""

    def __init__(self, wire: Wire, certificates: Certificates) -> None:
        self._wire = wire
        self._certificates = certificates
        self._over, self._closed = Event(), Event()
        self._listener = socket.socket()
        self._listener.bind((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._running = ExitStack()

    def __enter__(self) -> RawServer:
        if self._wire.ear is Ear.OPEN:
            self._listen()
        elif self._wire.ear is Ear.FULL:
            self._listener.listen(0)
            # One may wait to be taken: whoever comes next gets no answer.
            self._running.enter_context(socket.create_connection((HOST, self.port)))
        self._before = attempts(self.port)
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._running.close()
        with suppress(OSError):  # it never listened
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def as_stage(self, elsewhere: str) -> Stage:
        """Return what the test needs of it; ``elsewhere`` is asked without a proxy once its fault is over."""
        extras = dict(self._wire.extras)
        if self._wire.scheme == "https":
            extras["verify"] = str(self._certificates.bundle)
        url, healthy = f"{self._wire.scheme}://{HOST}:{self.port}/v1", {}
        if self._wire.is_proxy:
            url, healthy = "https://127.0.0.7:1/v1", {"host": elsewhere}
            extras["proxy"] = f"http://{HOST}:{self.port}"
        return Stage(url, lambda: attempts(self.port) - self._before, self.end, extras, healthy)

    def end(self) -> None:
        """End the fault."""
        self._over.set()
        if self._wire.ear is not Ear.OPEN:
            self._listen()

    def _listen(self) -> None:
        self._listener.listen(128)
        Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                client, _ = self._listener.accept()
                Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), ExitStack() as open_ones:  # the client goes when it likes
            open_ones.enter_context(client)
            is_over = self._over.is_set()
            certificate = Certificate.GOOD if is_over and self._wire.scheme == "https" else self._wire.certificate
            if certificate and not (is_over and self._wire.scheme == "http"):
                tls = self._certificates.contexts[certificate]
                client = open_ones.enter_context(tls.wrap_socket(client, server_side=True))
            client.recv(65536)
            client.sendall(HEALTHY if is_over else self._wire.said)
            if not is_over:
                self._go_on(client)

    def _go_on(self, client: socket.socket) -> None:
        if self._wire.then is Then.RESET:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
        elif self._wire.then is Then.HANG:
            self._closed.wait()
        elif self._wire.then is Then.DRIP:
            while not self._closed.wait(DRIP_SECONDS):
                client.sendall(self._wire.drip)
