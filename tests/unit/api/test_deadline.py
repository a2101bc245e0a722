from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Thread

import psutil
import pytest

from airflow_provider_smspartner.exceptions import SMSPartnerUnavailableError
from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook
from airflow_provider_smspartner.sandbox import SMSPartnerSandbox

DRIPS = {
    "headers": b"HTTP/1.1 200 OK\r\nX-Long: x",
    "the body": b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n{",
    "a body of unknown length": b"HTTP/1.1 200 OK\r\n\r\n{",
    "the TLS handshake": b"\x16\x03\x03\x40\x00",
}
"""What a server says at once, before it drips."""


@pytest.fixture
def drip(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Serve one byte each 50 ms, for ever; name the connection to it."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve(begin: bytes) -> None:
            with suppress(OSError):  # the client has gone, or the test has ended
                while True:
                    client, _ = server.accept()
                    with client, suppress(ConnectionError):
                        client.recv(4096)
                        client.sendall(begin)
                        while True:
                            client.sendall(b" ")
                            time.sleep(0.05)

        def drip(begin: bytes, scheme: str) -> str:
            Thread(target=serve, args=[begin], daemon=True).start()
            conn = {"conn_type": "smspartner", "password": "key", "extra": {"timeout": 0.5, "max_retries": 0}}
            conn["host"] = f"{scheme}://127.0.0.1:{server.getsockname()[1]}/v1"
            monkeypatch.setenv("AIRFLOW_CONN_DRIP", json.dumps(conn))
            return "drip"

        yield drip


@pytest.mark.parametrize("what", DRIPS)
@pytest.mark.parametrize("on_a_loop", [False, True], ids=["sync", "async"])
async def test_a_server_that_drips_is_given_up_when_the_time_is_up(
    drip: Callable[..., str], what: str, on_a_loop: bool
) -> None:
    hook = SMSPartnerHook(drip(DRIPS[what], "https" if "TLS" in what else "http"))
    with pytest.raises(SMSPartnerUnavailableError, match="no answer came in time"):
        await hook.aget_account() if on_a_loop else hook.get_account()
    await hook.aclose()


def test_a_look_up_that_takes_all_the_time_leaves_none_for_the_answer(
    drip: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = socket.getaddrinfo

    def resolve_late(*arguments: object) -> object:
        time.sleep(0.7)  # as a resolver does of which the first server is away
        return resolve(*arguments)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_late)
    hook = SMSPartnerHook(drip(DRIPS["a body of unknown length"], "http"))
    with pytest.raises(SMSPartnerUnavailableError, match="no answer came in time"):
        hook.get_account()


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
        SMSPartnerHook("slow").get_account()
    except Exception as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
"""


def test_a_process_that_was_forked_keeps_the_time_too(connect: Callable[..., str], sandbox: SMSPartnerSandbox) -> None:
    """As a worker does for each task, and a task may, too."""
    connect(sandbox)
    with SMSPartnerSandbox(api_key="slow") as slow:
        slow.fail_next(times=None, delay=30)
        connect(slow, "slow", timeout=0.3, max_retries=0)
        done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, check=True, timeout=60)
    assert "no answer came in time" in done.stdout
