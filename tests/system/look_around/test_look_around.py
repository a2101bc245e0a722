"""``make airflow``, by somebody who does what it says, and by somebody who presses Ctrl-C too early."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote
from urllib.request import Request, urlopen

import psutil
import pytest

from tests.system.airflow import Airflow

ROOT = Path(__file__).parents[3]
ENVIRONMENT = ".venv-airflow"
STATE = ROOT / ".airflow-look-around"
LAST_WORDS = "Ctrl-C stops everything."


@pytest.fixture(autouse=True, scope="module")
def _an_airflow_to_run(leave_out: Callable[[str], NoReturn]) -> None:
    if not (ROOT / ENVIRONMENT / "bin" / "airflow").exists():
        leave_out(f"there is no Airflow to run in {ENVIRONMENT}: make airflow installs it")


@contextmanager
def looking_around() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "demo.look_around", ENVIRONMENT]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.send_signal(signal.SIGTERM)


def press_ctrl_c(running: subprocess.Popen[str]) -> tuple[str, int]:
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=300)
    return said, running.returncode


def processes(command: str = "") -> list[psutil.Process]:
    """Return what runs in the folder where all of it runs."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it has ended meanwhile
            alive = process.status() != psutil.STATUS_ZOMBIE
            if alive and STATE in Path(process.cwd()).parents and command in " ".join(process.cmdline()):
                found.append(process)
    return found


def read_until(running: subprocess.Popen[str], last_words: str) -> str:
    said = ""
    while last_words not in said:
        assert running.stdout is not None
        line = running.stdout.readline()
        assert line, f"it ended, and all it said was: {said}"
        said += line
    return said


def ask(url: str, body: object = None) -> Any:
    """Send what the web page sends when somebody presses a button, or get what it shows."""
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, data, {"Accept": "application/json", "Content-Type": "application/json"})) as answer:
        return json.load(answer)


@contextmanager
def taken_port(port: int) -> Iterator[None]:
    """Make sure that somebody listens there: it may be somebody else."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a past run's connections must not count
        with suppress(OSError):
            listening.bind(("127.0.0.1", port))
            listening.listen()
        yield


def test_ctrl_c_while_it_starts_stops_what_has_started() -> None:
    with looking_around() as running:
        Airflow.until(processes, timeout=120, pause=0.05)
        said, code = press_ctrl_c(running)
    assert (code, said.splitlines()[-1]) == (0, "Stopped. Nothing is left running.")
    assert processes() == []


def test_somebody_who_does_what_it_says_sees_the_gate_open_and_nothing_is_left() -> None:
    with taken_port(8080), looking_around() as running:
        said = read_until(running, LAST_WORDS)
        assert "Port 8080 is taken" in said
        (url,) = re.findall(r"(http://\S+)/dags/smspartner_first_gate", said)
        (curl,) = re.findall("curl .*", said)
        runs = f"{url}/api/v2/dags/smspartner_first_gate/dagRuns"
        run = f"{runs}/{quote(ask(runs, {'logical_date': None})['dag_run_id'])}"

        another = subprocess.run(running.args, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        assert (another.returncode, another.stderr) == (1, "")
        assert another.stdout.startswith("It runs already")

        gate = f"{run}/taskInstances/enough_credit"
        Airflow.until(lambda: ask(gate)["state"] == "running", timeout=300)
        Airflow.until(lambda: "not enough" in str(ask(f"{gate}/logs/1")), timeout=60)
        assert "2631 sms available, 5000 needed: not enough" in str(ask(f"{gate}/logs/1"))
        paid = subprocess.run(shlex.split(curl), capture_output=True, text=True, check=True)
        assert json.loads(paid.stdout)["balance"] == "200.000"
        Airflow.until(lambda: ask(run)["state"] == "success", timeout=300)

        said, code = press_ctrl_c(running)
    assert (code, said.splitlines()[-1]) == (0, "Stopped. Nothing is left running.")
    assert processes() == []
    for address in (url, curl.partition("'")[2]):
        with socket.socket() as client:
            assert client.connect_ex(("127.0.0.1", int(re.findall(r":(\d+)", address)[0]))) != 0


def test_where_a_part_of_airflow_dies_it_names_the_log_and_stops_the_rest() -> None:
    with looking_around() as running:
        Airflow.until(lambda: processes("scheduler"), timeout=300)
        for scheduler in processes("scheduler"):
            scheduler.kill()
        said, _ = running.communicate(timeout=300)
    assert running.returncode == 1
    assert str(STATE / "home" / "scheduler.log") in said
    assert processes() == []
