"""What looks for a key, and the list of what was searched for one, at the end."""

from __future__ import annotations

import socket
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from threading import Thread

import pytest

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from tests.spellings import PLANTED, told

SEARCHED = "searched for the key"

Search = Callable[..., None]


@pytest.fixture(params=PLANTED.values(), ids=PLANTED)
def key(request: pytest.FixtureRequest) -> str:
    """Return one API key of each kind."""
    key: str = request.param
    return key


@pytest.fixture
def account(key: str) -> Iterator[SMSPartnerSandbox]:
    """Serve an account under that key."""
    with SMSPartnerSandbox(balance="10225.119", api_key=key) as account:
        yield account


@pytest.fixture
def search(record_property: Callable[[str, object], None]) -> Search:
    """Look for keys: ``search(surface, text, proofs, *keys)``, after the proof that the text is of that surface."""

    def search(surface: str, text: str, proofs: str | Sequence[str], *keys: str) -> None:
        missing = [proof for proof in ([proofs] if isinstance(proofs, str) else proofs) if proof not in text]
        assert missing == [], f"{surface}: nothing was told there, so that nothing can be found"
        assert {key: told(key, text) for key in keys if told(key, text)} == {}, surface
        record_property(SEARCHED, [surface, len(text.encode(errors="replace"))])

    return search


@pytest.fixture
def answering() -> Iterator[Callable[[str], str]]:
    """Answer each request with the same bytes, which may be no HTTP: ``answering(bytes_as_text)`` is the base URL."""
    listeners: list[socket.socket] = []

    def serve(listener: socket.socket, answer: bytes) -> None:
        with suppress(OSError):  # closed, as the test is over
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):  # the client was faster
                    connection.recv(65536)
                    connection.sendall(answer)

    def answering(answer: str) -> str:
        listeners.append(socket.create_server(("127.0.0.1", 0)))
        Thread(target=serve, args=(listeners[-1], answer.encode()), daemon=True).start()
        return f"http://127.0.0.1:{listeners[-1].getsockname()[1]}/v1"

    yield answering
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    searched: dict[str, list[int]] = defaultdict(list)
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            if name == SEARCHED:
                surface, size = value
                searched[surface].append(size)
    if searched:
        terminalreporter.section("the leak test's list of surfaces: texts and bytes searched for each key")
        for surface, sizes in sorted(searched.items()):
            terminalreporter.write_line(f"{surface:<76} {len(sizes):>6} {sum(sizes):>12,}")
