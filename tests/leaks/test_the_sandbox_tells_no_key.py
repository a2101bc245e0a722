"""The sandbox, as a command and in a test: what it says of those who ask tells no key."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox

ANNOUNCED = "Each answer is one line:"


def _ask_in_all_ways(url: str, key: str) -> None:
    """Ask with the key in the query, in the path, in a header, after a method of its own, and by no HTTP at all."""
    spelled = quote(key, safe="")
    requests = [f"GET /v1/me?apiKey={spelled}{as_}" for as_ in ("&_format=json", "&_format=xml")]
    requests += [f"GET /v1/me/{spelled}", f"POST /v1/me?apiKey={spelled}", f"POST /sandbox/top-up?amount={spelled}"]
    requests += [f"{key} /v1/me", f"GET /v1/me?apiKey={key}"]
    messages = [f"{request} HTTP/1.1\r\nX-Key: {key}\r\nConnection: close\r\n\r\n" for request in requests]
    for message in [*messages, f"{key}\r\n\r\n", f"GET /v1/me?apiKey={spelled} HTTP/9.9\r\n\r\n"]:
        with socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=10) as client:
            client.sendall(message.encode())
            while client.recv(65536):
                pass


def test_the_lines_of_the_command_tell_no_key(key: str, search: Any) -> None:
    command = [sys.executable, "-m", "airflow_provider_smspartner.sandbox", "--port=0", f"--api-key={key}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        assert running.stdout
        introduction = "".join(iter(running.stdout.readline, f"Ctrl-C stops it. {ANNOUNCED}\n"))
        url = introduction.partition("URL      ")[2].split()[0]
        _ask_in_all_ways(url, key)
        _ask_in_all_ways(url, f"{key}-wrong")
        running.terminate()
        said = running.communicate(timeout=60)[0]
    search("the sandbox's lines, as a command", said, "reading in JSON, balance 100.000 EUR", key)
    assert "refusal with code 10 in XML" in said


def test_a_sandbox_in_a_test_says_nothing_at_all(
    key: str, account: SMSPartnerSandbox, capfd: pytest.CaptureFixture[str]
) -> None:
    _ask_in_all_ways(account.url, key)
    assert account.requests_by_key[key] > 1
    assert "".join(capfd.readouterr()) == ""
    assert key not in repr(account)
