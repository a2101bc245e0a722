"""The sandbox starts and stops without a trace, answers at once and prints nothing."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from tests.unit.sandbox.asking import KEY, ask, connect, me


def test_after_the_stop_nobody_listens_and_no_thread_is_left() -> None:
    before = set(threading.enumerate())
    with SMSPartnerSandbox() as sandbox:
        connection = connect(sandbox)
        ask(sandbox, connection=connection)
        assert len(set(threading.enumerate()) - before) == 2
    assert set(threading.enumerate()) <= before
    with pytest.raises(ConnectionRefusedError):
        ask(sandbox)
    connection.close()


def test_a_kept_alive_connection_neither_delays_the_stop_nor_is_answered_after_it() -> None:
    sandbox = SMSPartnerSandbox().start()
    connection = connect(sandbox)
    ask(sandbox, connection=connection)
    before = time.monotonic()
    sandbox.stop()
    assert connection.sock.recv(1) == b""
    assert time.monotonic() - before < 1
    connection.close()


def test_the_stop_releases_a_delayed_request_without_an_answer() -> None:
    before = set(threading.enumerate())
    sandbox = SMSPartnerSandbox().start()
    sandbox.fail_next(delay=60)
    connection = connect(sandbox)
    connection.request("GET", f"/v1/me?apiKey={KEY}")
    sandbox.wait_for_requests(1)
    waiting = set(threading.enumerate()) - before
    sandbox.stop()
    assert len(waiting) == 2
    assert not any(thread.is_alive() for thread in waiting)
    with pytest.raises(ConnectionError):
        connection.getresponse()
    connection.close()


def test_a_restart_keeps_the_port_the_account_and_the_counts() -> None:
    sandbox = SMSPartnerSandbox()
    with sandbox:
        url = sandbox.url
        ask(sandbox)
        sandbox.spend("60")
    with sandbox:
        assert sandbox.url == url
        assert me(sandbox)["credits"]["balance"] == "40.000"
        assert sandbox.requests == 2


def test_stopping_twice_or_before_the_start_is_harmless() -> None:
    sandbox = SMSPartnerSandbox()
    sandbox.stop()
    sandbox.start()
    sandbox.stop()
    sandbox.stop()


def test_a_second_start_is_refused(sandbox: SMSPartnerSandbox) -> None:
    with pytest.raises(RuntimeError, match="runs already"):
        sandbox.start()


def test_there_is_no_url_before_the_port_is_known() -> None:
    with pytest.raises(RuntimeError, match="start it first"):
        _ = SMSPartnerSandbox().url
    assert SMSPartnerSandbox(port=8025).url == "http://127.0.0.1:8025/v1"


def test_a_taken_port_can_be_started_on_later(sandbox: SMSPartnerSandbox) -> None:
    other = SMSPartnerSandbox(port=urlsplit(sandbox.url).port or 0)
    with pytest.raises(OSError, match="in use"):
        other.start()
    sandbox.stop()
    with other:
        assert ask(other)[0] == 200


def test_starting_asks_no_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getfqdn", lambda *_: pytest.fail("asked the resolver"))
    with SMSPartnerSandbox():
        pass


def test_a_sandbox_that_nobody_stopped_does_not_keep_the_process_alive() -> None:
    code = """if True:
        import http.client
        from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
        sandbox = SMSPartnerSandbox().start()
        connection = http.client.HTTPConnection(sandbox.url.split("/")[2])
        connection.request("GET", "/v1/me")
        connection.getresponse().read()
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=5)


def test_answers_on_a_kept_alive_connection_do_not_wait_for_a_delayed_ack(sandbox: SMSPartnerSandbox) -> None:
    connection = connect(sandbox)
    before = time.monotonic()
    for _ in range(50):
        ask(sandbox, connection=connection)
    assert time.monotonic() - before < 1
    connection.close()


def test_a_burst_of_clients_is_served_at_once(sandbox: SMSPartnerSandbox) -> None:
    before = time.monotonic()
    with ThreadPoolExecutor(50) as pool:
        assert {status for status, _, _ in pool.map(lambda _: ask(sandbox), range(50))} == {200}
    assert time.monotonic() - before < 1
    assert sandbox.requests == 50


def test_it_prints_nothing_whatever_a_client_does(capfd: pytest.CaptureFixture[str]) -> None:
    with SMSPartnerSandbox() as sandbox:
        sandbox.fail_next(delay=60)
        for raw_request, arrived in (
            ("GET", 0),
            (f"apiKey={KEY} nonsense\r\n", 0),
            (f"GET /v1/me?apiKey={KEY} HTTP/1.1\r\n\r\n", 1),
        ):
            raw = socket.create_connection(("127.0.0.1", urlsplit(sandbox.url).port or 0), timeout=5)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close with a reset
            raw.sendall(raw_request.encode())
            sandbox.wait_for_requests(arrived)  # a reset may overtake what was sent before it
            raw.close()
        for target in (f"/v1/me?apiKey={KEY}", "/v1/me?apiKey=wrong", f"/elsewhere?apiKey={KEY}"):
            ask(sandbox, target)
    assert capfd.readouterr() == ("", "")


def test_importing_it_loads_neither_airflow_nor_a_third_party_client() -> None:
    code = "import sys, airflow_provider_smspartner.sandbox; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "airflow_provider_smspartner" in loaded
    assert not {"airflow", "requests", "sqlalchemy", "aiohttp"} & set(loaded)
