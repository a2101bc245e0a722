"""The sandbox as a command, for a person at a terminal."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from tests.unit.sandbox.asking import curl


class Command:
    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "airflow_provider_smspartner.sandbox", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": ""},
        )
        assert self.process.stdout is not None
        self.out = self.process.stdout
        self.introduction = ""

    def __enter__(self) -> Command:
        while "Ctrl-C" not in self.introduction:
            line = self.out.readline()
            assert line, self.process.communicate()[1]
            self.introduction += line
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def say(self, pattern: str) -> str:
        found = re.search(pattern, self.introduction)
        assert found, self.introduction
        return found[1]

    @property
    def port(self) -> int:
        return int(self.say(r"URL +http://127\.0\.0\.1:(\d+)/v1\n"))


@pytest.mark.parametrize("stop_signal", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_a_person_until_told_to_stop(stop_signal: signal.Signals) -> None:
    with Command("--port", "0", "--balance", "10", "--currency", "CHF", "--api-key", "it's a key") as command:
        assert "not the real API" in command.introduction
        exported = shlex.split(command.say(r"(export AIRFLOW_CONN_SMSPARTNER_DEFAULT=.*)"))[1].partition("=")[2]
        assert json.loads(exported)["password"] == "it's a key"
        assert json.loads(exported)["host"] == f"http://127.0.0.1:{command.port}/v1"
        *_, method, url = shlex.split(command.say("(curl .*)"))
        top_up = urlsplit(url)
        curl(command.port, f"{top_up.path}?{top_up.query}", method)
        assert json.loads(curl(command.port, "/v1/me?apiKey=it%27s%20a%20key"))["credits"]["balance"] == "60.000"
        curl(command.port, "/v1/me?apiKey=it%27s%20a%20key&_format=xml")
        curl(command.port, "/v1/me?apiKey=Sent-By-Mistake")
        lines = [command.out.readline() for _ in range(4)]
        command.process.send_signal(stop_signal)
        rest, errors = command.process.communicate(timeout=5)
    assert (command.process.returncode, rest, errors) == (0, "", "")
    assert [re.sub(r"^\d\d:\d\d:\d\d  ", "", line) for line in lines] == [
        "top-up, balance 60.000 CHF\n",
        "reading in JSON, balance 60.000 CHF\n",
        "reading in XML, balance 60.000 CHF\n",
        "refusal with code 10 in JSON, balance 60.000 CHF\n",
    ]


def test_the_command_says_in_one_sentence_that_its_port_is_taken(sandbox: SMSPartnerSandbox) -> None:
    port = str(urlsplit(sandbox.url).port)
    command = [sys.executable, "-m", "airflow_provider_smspartner.sandbox", "--port", port]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Cannot listen on 127.0.0.1:{port} (Address already in use): choose another --port.\n"


def test_the_command_refuses_a_bad_option_without_a_traceback() -> None:
    command = [sys.executable, "-m", "airflow_provider_smspartner.sandbox", "--balance", "much"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    assert done.returncode == 2
    assert "balance is 'much', which is no amount" in done.stderr
    assert "Traceback" not in done.stderr
