from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from threading import Event

import psutil
import pytest

from airflow_provider_smspartner.api.deadline import _Watch
from airflow_provider_smspartner.exceptions import SMSPartnerUnavailableError
from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook
from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from tests.conftest import Ask
from tests.servers import GOOD_ANSWER, serving

DRIPS = {
    "headers": b"HTTP/1.1 200 OK\r\nX-Long: x",
    "the body": b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n{",
    "a body of unknown length": b"HTTP/1.1 200 OK\r\n\r\n{",
    "the TLS handshake": b"\x16\x03\x03\x40\x00",
}
"""What a server says at once, before it drips."""


class Drip:
    """A server of one byte each 50 ms, for 2 s, after what it says at once."""

    def __init__(self, *said: bytes) -> None:
        self.said = said
        self.was_heard_out = False

    def __call__(self, client: socket.socket) -> None:
        for each in self.said:
            client.recv(4096)
            client.sendall(each)
        for _ in range(40):
            client.sendall(b" ")
            time.sleep(0.05)
        self.was_heard_out = True


@pytest.fixture
def connect_to(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Make the connection to a server that drips, or through it: ``connect_to(drip, scheme=…, as_proxy_for=…)``."""
    with ExitStack() as running:

        def connect_to(drip: Drip, scheme: str = "http", as_proxy_for: str = "") -> str:
            url = f"{scheme}://127.0.0.1:{running.enter_context(serving(drip))}"
            extra = {"timeout": 0.5, "max_retries": 0} | ({"proxy": url} if as_proxy_for else {})
            conn = {"conn_type": "smspartner", "password": "key", "host": as_proxy_for or f"{url}/v1", "extra": extra}
            monkeypatch.setenv("AIRFLOW_CONN_DRIP", json.dumps(conn))
            return "drip"

        yield connect_to


ConnectTo = Callable[..., str]


@pytest.mark.parametrize("what", DRIPS)
def test_a_server_that_drips_is_given_up_when_the_time_is_up(ask: Ask, connect_to: ConnectTo, what: str) -> None:
    drip = Drip(DRIPS[what])
    hook = SMSPartnerHook(connect_to(drip, scheme="https" if "TLS" in what else "http"))
    with pytest.raises(SMSPartnerUnavailableError, match="no answer came in time"):
        ask(hook)
    assert not drip.was_heard_out


@pytest.mark.parametrize("host", ["http://127.0.0.7:1/v1", "https://127.0.0.7:1/v1"])
def test_a_proxy_that_drips_is_given_up_too(ask: Ask, connect_to: ConnectTo, host: str) -> None:
    drip = Drip(DRIPS["headers"])
    hook = SMSPartnerHook(connect_to(drip, as_proxy_for=host))
    with pytest.raises(SMSPartnerUnavailableError, match="no answer came in time"):
        ask(hook)
    assert not drip.was_heard_out


def test_an_answer_that_drips_over_a_kept_connection_is_cut(connect_to: ConnectTo) -> None:
    drip = Drip(GOOD_ANSWER, DRIPS["the body"])
    hook = SMSPartnerHook(connect_to(drip))
    assert hook.get_account().credits.sms == 7
    with pytest.raises(SMSPartnerUnavailableError, match="no answer came in time"):
        hook.get_account()
    assert not drip.was_heard_out


def test_a_shorter_limit_holds_while_a_longer_one_runs() -> None:
    watch, cut = _Watch(), Event()
    with watch.limit(3600, lambda: None):
        while not watch._wakes_at:  # it is about to sleep, or does, whoever gets its lock then
            time.sleep(0.001)
        with watch.limit(0.01, cut.set):
            assert cut.wait(10)


def test_a_limit_that_is_left_in_time_cuts_nothing() -> None:
    watch, cut, later = _Watch(), Event(), Event()
    with watch.limit(0.05, cut.set):
        pass
    with watch.limit(0.1, later.set):
        assert later.wait(10)
    assert not cut.is_set()


def test_a_process_ends_without_waiting_for_the_watch() -> None:
    program = "from airflow_provider_smspartner.api.deadline import _watch\nwith _watch.limit(3600, print): pass"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_look_up_that_takes_all_the_time_leaves_none_for_the_answer(
    connect_to: ConnectTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = socket.getaddrinfo

    def resolve_late(*arguments: object) -> object:
        time.sleep(0.7)  # as a resolver does of which the first server is away
        return resolve(*arguments)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_late)
    drip = Drip(DRIPS["a body of unknown length"])
    hook = SMSPartnerHook(connect_to(drip))
    with pytest.raises(SMSPartnerUnavailableError, match="no answer came in time"):
        hook.get_account()
    assert not drip.was_heard_out


def test_a_connection_that_was_cut_is_replaced(connect: Callable[..., str], sandbox: SMSPartnerSandbox) -> None:
    hook = SMSPartnerHook(connect(sandbox, timeout=0.3, max_retries=0))
    hook.get_account()
    sandbox.fail_next(delay=1)
    with pytest.raises(SMSPartnerUnavailableError, match="no answer came in time"):
        hook.get_account()
    assert hook.get_account().credits.sms == 269082


def test_an_open_connection_is_used_again(connect: Callable[..., str], sandbox: SMSPartnerSandbox) -> None:
    hook = SMSPartnerHook(connect(sandbox))
    for _ in range(3):
        hook.get_account()
    assert sandbox.connections == 1


def test_a_connection_that_is_kept_open_takes_one_descriptor(
    connect: Callable[..., str], sandbox: SMSPartnerSandbox
) -> None:
    connect(sandbox)
    hooks = [SMSPartnerHook() for _ in range(11)]
    hooks[0].get_account()
    before = psutil.Process().num_fds()
    for hook in hooks[1:]:
        hook.get_account()
    # 20, half of them the sandbox's; two for a connection would make 30. The process may open others meanwhile.
    assert psutil.Process().num_fds() - before < 25


FORK = """
import os
from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook
SMSPartnerHook().get_account()
if os.fork() == 0:
    try:
        SMSPartnerHook("drip").get_account()
    except Exception as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
"""


def test_a_process_that_was_forked_keeps_the_time_too(
    connect: Callable[..., str], sandbox: SMSPartnerSandbox, connect_to: ConnectTo
) -> None:
    """As a worker does for each task, and a task may, too."""
    connect(sandbox)
    drip = Drip(DRIPS["the body"])
    connect_to(drip)
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, check=True, timeout=60)
    assert "no answer came in time" in done.stdout
    assert not drip.was_heard_out
