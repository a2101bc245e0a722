"""A real Airflow of the system test's own: from the wheel just built, with a home, a port and sessions of its own."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import psutil
import pytest
from cryptography.fernet import Fernet

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox

BIN = Path(__file__).parents[2] / ".venv-system" / "bin"
DAGS = Path(__file__).parent / "dags"

KEYS = {
    "campaigns": "S3cr3t+Key/42=é%",
    "subaccount": "S3cr3t+Key/43=é%",
    "revoked": "S3cr3t+Key/44=é%",
    "watched": "S3cr3t+Key/45=é%",
}

FIGURES = pytest.StashKey[dict[str, object]]()
KEPT_HOME = pytest.StashKey[Path]()


class Airflow:
    """Run Airflow's components, each in a session of its own, and talk to them as a user does, over the REST API."""

    def __init__(self, home: Path, connections: dict[str, str]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.home = home
        self._fernet_key = Fernet.generate_key()
        self._environment = self._settings() | {f"AIRFLOW_CONN_{name.upper()}": it for name, it in connections.items()}
        self._components: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        assert self._run("db", "migrate").wait(timeout=180) == 0, "no database was made"
        self._components["api-server"] = self._run("api-server", "--host=127.0.0.1", f"--port={self.port}")
        self._components["scheduler"] = self._run("scheduler", "--skip-serve-logs")
        self._components["dag-processor"] = self._run("dag-processor")
        self.start_triggerer()
        self.until(self._is_up, timeout=180)

    def stop(self) -> list[int]:
        """Stop all components at the same time; return the processes that had to be killed after that."""
        for component in self._components.values():
            with suppress(ProcessLookupError):
                os.killpg(component.pid, signal.SIGTERM)
        for component in self._components.values():
            with suppress(subprocess.TimeoutExpired):
                component.wait(timeout=60)
        survivors = _processes_in({component.pid for component in self._components.values()})
        for pid in survivors:
            os.kill(pid, signal.SIGKILL)
        self._components.clear()
        return survivors

    def start_triggerer(self) -> None:
        self._components["triggerer"] = self._run("triggerer", "--skip-serve-logs")

    def stop_triggerer(self, how: signal.Signals) -> None:
        """Signal the one process, as an orchestrator does, and wait until those that it started have gone too."""
        triggerer = self._components["triggerer"]
        triggerer.send_signal(how)
        triggerer.wait(timeout=60)
        self.until(lambda: not _processes_in({triggerer.pid}))

    @staticmethod
    def until(condition: Callable[[], object], timeout: float = 60, pause: float = 0.2) -> None:
        """Wait for what Airflow does and tells nobody of."""
        deadline = time.monotonic() + timeout
        while not (found := condition()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {timeout} s: it is {found!r}")
            time.sleep(pause)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Send a request to the REST API, and return its answer."""
        request = Request(
            f"http://127.0.0.1:{self.port}/api/v2{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Accept": "application/json", "Content-Type": "application/json"},
        )
        with urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def trigger(self, dag_id: str) -> DagRun:
        run_id = self.ask("POST", f"/dags/{dag_id}/dagRuns", {"logical_date": None})["dag_run_id"]
        return DagRun(self, dag_id, f"/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances")

    def trigger_arguments(self) -> list[str]:
        """Return what the database keeps to make each trigger anew with: Airflow encrypts the watchers' only."""
        fernet, kept = Fernet(self._fernet_key), self.query("SELECT kwargs FROM trigger")
        return [text if text.startswith("{") else fernet.decrypt(text).decode() for (text,) in kept]

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask the metadata database itself."""
        with closing(sqlite3.connect(self.home / "airflow.db")) as database:
            return database.execute(sql).fetchall()

    def _is_up(self) -> bool:
        dead = [name for name, component in self._components.items() if component.poll() is not None]
        assert not dead, f"{dead} ended at once"
        try:
            states = {part["status"] for part in self.ask("GET", "/monitor/health").values()}
            parsed = {dag["fileloc"] for dag in self.ask("GET", "/dags")["dags"]}
        except OSError:  # nobody listens yet, or is ready to answer
            return False
        return states == {"healthy"} and parsed == {str(path) for path in DAGS.glob("*.py")}

    def _run(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.home / f"{arguments[0]}.log").open("ab") as log:
            return subprocess.Popen(
                [BIN / "airflow", *arguments],
                env=self._environment,
                cwd=self.home,  # in the repository its package would be imported, and not the wheel's
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _settings(self) -> dict[str, str]:
        url = f"http://127.0.0.1:{self.port}"
        return {
            "PATH": f"{BIN}{os.pathsep}{os.defpath}",
            "HOME": str(self.home),
            "TMPDIR": str(self.home),
            "NO_PROXY": "127.0.0.1",
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__API__BASE_URL": url,
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
            "AIRFLOW__CORE__FERNET_KEY": self._fernet_key.decode(),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "8",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            # A writer waits for the others: two cores are slow at times.
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home}/airflow.db?timeout=60",
            # Whatever is said of the key is said at this level.
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
            # A triggerer that was killed is given up soon.
            "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
        }


@dataclass(frozen=True)
class DagRun:
    """One run of a DAG that holds one mapped task, ``gate``."""

    airflow: Airflow
    dag_id: str
    path: str

    def tasks(self) -> list[dict[str, Any]]:
        tasks: list[dict[str, Any]] = self.airflow.ask("GET", f"{self.path}?limit=100")["task_instances"]
        return tasks

    def states(self) -> Counter[str | None]:
        return Counter(task["state"] for task in self.tasks())

    def wait_for(self, gates: int, state: str) -> None:
        self.airflow.until(lambda: self.states()[state] == gates, timeout=240)

    def log(self, gate: int) -> list[dict[str, Any]]:
        """Return what the page of the task instance shows as the log of its first try."""
        entries: list[dict[str, Any]] = self.airflow.ask("GET", f"{self.path}/gate/logs/1?map_index={gate}")["content"]
        return entries

    def told_a_reading_since(self, moment: float) -> int:
        """Return how many gates have a reading in the log that their triggerer keeps since that time."""
        logs = self.airflow.home.glob(f"logs/dag_id={self.dag_id}/**/*.log.trigger.*.log")
        return sum(log.stat().st_ctime > moment and "sms available" in log.read_text() for log in logs)

    def xcom(self, gate: int) -> Any:
        return self.airflow.ask("GET", f"{self.path}/gate/xcomEntries/return_value?map_index={gate}")["value"]


def _processes_in(sessions: set[int]) -> list[int]:
    """Return what runs in these sessions. A zombie does not: its burial is up to init."""
    processes = psutil.process_iter(["pid", "status"])
    pids = [process.pid for process in processes if process.info["status"] != psutil.STATUS_ZOMBIE]
    return [pid for pid in pids if _session_of(pid) in sessions]


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _sandbox(balance: str, *conn_ids: str) -> SMSPartnerSandbox:
    """Return an account of which one SMS costs 1, with a key for each connection."""
    return SMSPartnerSandbox(balance, [KEYS[conn_id] for conn_id in conn_ids], prices={"sms": 1})


@pytest.fixture(scope="session")
def keys() -> dict[str, str]:
    """Return the API key of each Airflow connection."""
    return KEYS


@pytest.fixture(scope="session")
def account() -> Iterator[SMSPartnerSandbox]:
    """Serve an account that can pay for no campaign, under two keys."""
    with _sandbox("10", "campaigns", "subaccount") as account:
        yield account


@pytest.fixture(scope="session")
def revoked() -> Iterator[SMSPartnerSandbox]:
    """Serve another one, whose key will be the wrong one soon."""
    with _sandbox("10", "revoked") as revoked:
        yield revoked


@pytest.fixture(scope="session")
def watched() -> Iterator[SMSPartnerSandbox]:
    """Serve an account between the thresholds of the two watchers."""
    with _sandbox("600", "watched") as watched:
        yield watched


@pytest.fixture(scope="session")
def airflow(
    request: pytest.FixtureRequest, account: SMSPartnerSandbox, watched: SMSPartnerSandbox
) -> Iterator[Airflow]:
    """Run Airflow until the last test has ended; keep what it wrote where one failed."""
    if not BIN.exists():
        reason = "there is no Airflow to run: `make system` installs it"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    home = Path(tempfile.mkdtemp(prefix="airflow-smspartner-system-"))
    connections = {conn_id: account.connection_json(KEYS[conn_id]) for conn_id in ("campaigns", "subaccount")}
    airflow = Airflow(home, connections | {"watched": watched.connection_json()})
    try:
        airflow.start()
        yield airflow
    finally:
        airflow.stop()
        if sys.exception() or request.session.testsfailed:
            request.config.stash[KEPT_HOME] = home
        else:
            shutil.rmtree(home)


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> dict[str, object]:
    """Collect what a person wants to read at the end."""
    return request.config.stash.setdefault(FIGURES, {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if figures := config.stash.get(FIGURES, {}):
        terminalreporter.section("what a real Airflow did")
        for name, figure in figures.items():
            terminalreporter.write_line(f"{name:<68} {figure:>8}")
    if kept := config.stash.get(KEPT_HOME, None):
        terminalreporter.write_line(f"Airflow's logs and database are kept for a look: {kept}")
