"""The quick start, command by command as it stands on the page."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Timer

import pytest

ROOT = Path(__file__).parents[2]
PORT = "8025"
"""The sandbox's on the page. Here it may be taken, so the commands get another one."""


@pytest.fixture
def commands(blocks: Callable[[str, str], list[str]]) -> dict[str, str]:
    """Return the page's commands by their first two words."""
    told = blocks("quick-start", "bash") + [block.removeprefix("$ ") for block in blocks("quick-start", "console")]
    return {" ".join(re.split(r"[\s=]", command)[:2]): command for command in reversed(told)}


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command in bash, with an Airflow home of its own; end it with the test, or after ten minutes."""
    (tmp_path / "dags").mkdir()
    shutil.copy(ROOT / "example_dags" / "smspartner_first_gate.py", tmp_path / "dags" / "first_gate.py")
    home = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags")}
    path = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    started: list[subprocess.Popen[str]] = []

    def run(command: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            ["bash", "-euc", command],
            env=os.environ | home | path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    def end() -> None:
        for process in started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)

    limit = Timer(600, end)
    limit.start()
    yield run
    limit.cancel()
    end()
    for process in started:
        process.wait()


@pytest.fixture
def port(commands: dict[str, str], run: Callable[..., subprocess.Popen[str]]) -> str:
    """Run the sandbox by the page's command, and return the port it got."""
    sandbox = run(f"exec {commands['python -m']} --port 0")
    assert sandbox.stdout is not None
    introduction = next(line for line in sandbox.stdout if line.strip().startswith("URL"))
    (found,) = re.findall(r":(\d+)/", introduction)
    return found


def test_the_gate_of_the_quick_start_opens_when_it_is_paid(
    commands: dict[str, str], run: Callable[..., subprocess.Popen[str]], port: str, blocks: Callable[..., list[str]]
) -> None:
    here = {name: command.replace(PORT, port) for name, command in commands.items()}
    export = here["export AIRFLOW_CONN_SMSPARTNER_DEFAULT"]
    asked = run(f"{export}\n{here['airflow db']}").communicate()[0]
    assert re.search(r"smspartner_default +\| 2631 ", asked), asked

    waiting, opened = blocks("quick-start", "text")
    test = run(f"{export}\n{here['airflow dags']}")
    assert test.stdout is not None
    told = []
    for line in test.stdout:
        told.append(line)
        if waiting in line and waiting not in "".join(told[:-1]):
            assert run(here["curl -X"]).wait() == 0
    assert test.wait() == 0, "".join(told)
    assert waiting in "".join(told)
    assert opened in "".join(told)
    assert "Here your campaign would be sent" in "".join(told)
