"""A real ``airflow triggerer`` over deferred tasks that stand in its database; nothing else of Airflow runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from cryptography.fernet import Fernet

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Triggerer:
    """
    The two processes of a running triggerer.

    Its runner is where the triggers live. Its supervisor talks to the database, looks connections up and writes logs.
    """

    home: Path
    supervisor: psutil.Process

    @property
    def runner(self) -> psutil.Process:
        """Once triggers run: on its way there the supervisor starts others, which end at once."""
        (runner,) = self.supervisor.children()
        return runner


@contextmanager
def run_triggerer(triggers: Sequence[tuple[str, Mapping[str, Any]]], named: Mapping[str, str]) -> Iterator[Triggerer]:
    """
    Run a triggerer of its own home and database, SQLite, until it is left.

    :param triggers: class path and arguments of each; one deferred task waits for each
    :param named: Airflow connections by conn id, kept in Airflow's database
    """
    with TemporaryDirectory() as folder:
        home = Path(folder)
        environment = _environment(home)
        shutil.copy(_migrated_database(), home / "airflow.db")
        asked_for = json.dumps({"triggers": triggers, "connections": named})
        _run(environment, sys.executable, "-m", "benchmarks.deferred", told=asked_for)
        with (home / "triggerer.log").open("wb") as log:
            command = [BIN / "airflow", "triggerer", "--skip-serve-logs"]
            process = subprocess.Popen(command, env=environment, cwd=home, stdout=log, stderr=log)
        try:
            yield Triggerer(home, psutil.Process(process.pid))
        finally:
            _stop(process)


@cache
def _migrated_database() -> Path:
    """Return an empty database of Airflow's, which takes long to make, in the home of this run."""
    home = Path(os.environ["AIRFLOW_HOME"])
    _run(_environment(home), BIN / "airflow", "db", "migrate")
    return home / "airflow.db"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end; what has not ended a minute later, on a machine that is too slow for that, is killed."""
    if process.poll() is not None:
        return
    both = [*psutil.Process(process.pid).children(), process]
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        for each in both:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait()


def until(condition: Callable[[], object], timeout: float) -> None:
    """Wait for what nobody tells."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout} s")
        time.sleep(0.1)


def _run(environment: Mapping[str, str], *command: str | Path, told: str = "") -> None:
    done = subprocess.run(command, env=environment, input=told, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command} failed:\n{done.stdout}{done.stderr}")


def _environment(home: Path) -> dict[str, str]:
    return {
        "PATH": f"{BIN}{os.pathsep}{os.defpath}",
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "NO_PROXY": "127.0.0.1",
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__FERNET_KEY": Fernet.generate_key().decode(),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db?timeout=60",
        "AIRFLOW__TRIGGERER__CAPACITY": "10000",
    }
