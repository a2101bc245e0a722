"""A real Airflow of a system test's own: from the wheel, with a home, a port and sessions of its own."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import psutil
from cryptography.fernet import Fernet
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.pool import NullPool


class Airflow:
    """Run Airflow's components, each in a session of its own, and talk to them as a user does, over the REST API."""

    def __init__(
        self,
        environment: Path,
        home: Path,
        dags: Path,
        connections: Mapping[str, str],
        *,
        port: int = 0,
        **settings: str,
    ) -> None:
        """
        Make an Airflow that is not started yet.

        :param environment: the virtual environment that holds Airflow and the wheel
        :param dags: the folder of its DAG files
        :param connections: Airflow connections by conn id, as JSON
        :param port: where the API server listens on 127.0.0.1; 0 for any free port
        :param settings: Airflow's settings beside or instead of ours: ``core__parallelism="8"``
        """
        self.port = free_port(port)
        self.home = home
        self._bin, self._dags = environment / "bin", dags
        self._fernet_key = Fernet.generate_key()
        named = {f"AIRFLOW__{name.upper()}": value for name, value in settings.items()}
        self.environment = self._settings() | named
        self.environment |= {f"AIRFLOW_CONN_{name.upper()}": conn for name, conn in connections.items()}
        metadata = self.environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
        # The metadata database may be stopped and started meanwhile: no connection is kept.
        self._metadata = create_engine(metadata, poolclass=NullPool)
        self._components: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        self.make_database()
        self.start_web()
        self.start_component("scheduler", "scheduler", "--skip-serve-logs")
        self.start_component("dag-processor", "dag-processor")
        self.start_triggerer()
        self.until(self._is_up, timeout=180)

    def make_database(self) -> None:
        self.do("db", "migrate")

    def do(self, *command: str) -> None:
        """Run ``airflow COMMAND`` until it has ended well."""
        name = command[0]
        self.start_component(name, *command)  # so that it is stopped with the others, if somebody does not wait
        code = self._components[name].wait(timeout=180)
        del self._components[name]
        assert code == 0, f"airflow {' '.join(command[:2])} failed: {self.home / name}.log says why"

    def start_web(self) -> None:
        self.start_component("api-server", "api-server", "--host=127.0.0.1", f"--port={self.port}")

    def stop(self) -> list[str]:
        """Stop all components at once, as an orchestrator does; return the commands of what had to be killed."""
        for component in self._components.values():
            component.terminate()
        if not self._have_ended(within=30):
            # A LocalExecutor that was told to end just after a task waits for an idle worker of its own forever.
            for component in self._components.values():
                with suppress(ProcessLookupError):
                    os.killpg(component.pid, signal.SIGTERM)
            self._have_ended(within=90)
        killed = []
        for pid in self._processes():
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                killed.append(f"{pid} ({process.status()}): {' '.join(process.cmdline())}")
                process.kill()
        for component in self._components.values():
            component.wait(timeout=60)
        self._components.clear()
        return killed

    def _have_ended(self, *, within: float) -> bool:
        try:
            self.until(lambda: not self._processes(), timeout=within)
        except TimeoutError:
            return False
        return True

    def _processes(self) -> list[int]:
        return _processes_in({component.pid for component in self._components.values()})

    def start_component(self, name: str, *command: str) -> None:
        """Start ``airflow COMMAND``, under a name of which there may be several."""
        self._components[name] = self._run(name, *command)

    def process_of(self, name: str) -> psutil.Process:
        """Return the one process of a component, of which those that it started are children."""
        return psutil.Process(self._components[name].pid)

    def stop_component(self, name: str, how: signal.Signals) -> None:
        """Signal the one process, as an orchestrator does, and wait until those that it started have gone too."""
        self.signal_component(name, how)
        self.wait_for_component(name)

    def signal_component(self, name: str, how: signal.Signals) -> None:
        self._components[name].send_signal(how)

    def wait_for_component(self, name: str) -> int:
        """Wait until a component that was signalled, and those that it started, have gone; return its exit code."""
        component = self._components[name]
        code = component.wait(timeout=180)
        self.until(lambda: not _processes_in({component.pid}))
        return code

    def lose_component(self, name: str) -> None:
        """Kill a component with all that it started at once, as when its machine dies."""
        component = self._components.pop(name)

        def is_gone() -> bool:
            left = _processes_in({component.pid})
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not left

        self.until(is_gone)
        component.wait(timeout=60)

    def restart_ended(self) -> list[str]:
        """Start again what has given up, as an orchestrator does, and return the names."""
        ended = [name for name, component in self._components.items() if component.poll() is not None]
        for name in ended:
            self.start_component(name, *self._components[name].args[1:])
        return ended

    def start_triggerer(self) -> None:
        self.start_component("triggerer", "triggerer", "--skip-serve-logs")

    def stop_triggerer(self, how: signal.Signals) -> None:
        self.stop_component("triggerer", how)

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
        return self._dag_run(self.ask("POST", f"/dags/{dag_id}/dagRuns", {"logical_date": None}))

    def runs(self, dag_id: str) -> list[DagRun]:
        """Return the DAG runs so far."""
        return [self._dag_run(run) for run in self.ask("GET", f"/dags/{dag_id}/dagRuns?limit=100")["dag_runs"]]

    def trigger_arguments(self) -> list[str]:
        """Return what the database keeps to make each trigger anew with: Airflow encrypts the watchers' only."""
        fernet, kept = Fernet(self._fernet_key), self.query("SELECT kwargs FROM trigger")
        return [text if text.startswith("{") else fernet.decrypt(text).decode() for (text,) in kept]

    def stored_connection(self, conn_id: str) -> dict[str, Any]:
        """Return what the database keeps of a connection, the key and the extras too."""
        fields = ["conn_type", "host", "login", "schema", "port", "password", "extra"]
        (kept,) = self.query(f"SELECT {', '.join(fields)} FROM connection WHERE conn_id = '{conn_id}'")
        connection, fernet = dict(zip(fields, kept, strict=True)), Fernet(self._fernet_key)
        return connection | {name: fernet.decrypt(connection[name]).decode() for name in ("password", "extra")}

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask the metadata database itself."""
        with self._metadata.connect() as metadata:
            return [tuple(row) for row in metadata.execute(text(sql))]

    def tables(self) -> list[str]:
        """Return the names of the metadata database's tables."""
        return inspect(self._metadata).get_table_names()

    def _dag_run(self, told: dict[str, Any]) -> DagRun:
        dag_id, run_id = told["dag_id"], told["dag_run_id"]
        return DagRun(self, dag_id, f"/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances", run_id)

    def ended(self) -> list[Path]:
        """Return the logs of the components that have ended."""
        return [self.home / f"{name}.log" for name, run in self._components.items() if run.poll() is not None]

    def _is_up(self) -> bool:
        dead = self.ended()
        assert not dead, f"ended at once, and these logs say why: {', '.join(map(str, dead))}"
        try:
            states = {part["status"] for part in self.ask("GET", "/monitor/health").values()}
            parsed = {dag["fileloc"] for dag in self.ask("GET", "/dags")["dags"]}
        except OSError:  # nobody listens yet, or is ready to answer
            return False
        return states == {"healthy"} and parsed == {str(path) for path in self._dags.glob("*.py")}

    def _run(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        with (self.home / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [self._bin / "airflow", *command],
                # A machine's name, where ``core__hostname_callable="getpass.getuser"`` asks for it.
                env=self.environment | {"LOGNAME": name},
                cwd=self.home,  # in the repository its package would be imported, and not the wheel's
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _settings(self) -> dict[str, str]:
        url = f"http://127.0.0.1:{self.port}"
        return {
            "PATH": f"{self._bin}{os.pathsep}{os.defpath}",
            "HOME": str(self.home),
            "TMPDIR": str(self.home),
            "NO_PROXY": "127.0.0.1",
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__API__BASE_URL": url,
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(self._dags),
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
    run_id: str

    def tasks(self) -> list[dict[str, Any]]:
        tasks: list[dict[str, Any]] = self.airflow.ask("GET", f"{self.path}?limit=100")["task_instances"]
        return tasks

    def states(self) -> Counter[str | None]:
        return Counter(task["state"] for task in self.tasks())

    def wait_for(self, gates: int, state: str) -> None:
        # The API server has tasks to serve, too.
        self.airflow.until(lambda: self.states()[state] == gates, timeout=240, pause=1)

    def log(self, gate: int, task: str = "gate") -> list[dict[str, Any]]:
        """Return what the page of the task instance shows as the log of its first try."""
        first_try = f"{self.path}/{task}/logs/1?map_index={gate}"
        entries: list[dict[str, Any]] = self.airflow.ask("GET", first_try)["content"]
        return entries

    def told_a_reading_since(self, moment: float) -> int:
        """Return how many gates have a reading in the log that their triggerer keeps since that time."""
        logs = self.airflow.home.glob(f"logs/dag_id={self.dag_id}/**/*.log.trigger.*.log")
        return sum(log.stat().st_ctime > moment and "sms available" in log.read_text() for log in logs)

    def xcom(self, gate: int, task: str = "gate") -> Any:
        return self.airflow.ask("GET", f"{self.path}/{task}/xcomEntries/return_value?map_index={gate}")["value"]

    def run_again(self) -> None:
        """Clear all tasks of a run, as a person does on its page, as soon as the run itself has ended."""
        this = f"/dags/{self.dag_id}/dagRuns/{quote(self.run_id)}"
        self.airflow.until(lambda: self.airflow.ask("GET", this)["state"] in {"success", "failed"})
        everything = {"dag_run_id": self.run_id, "dry_run": False, "only_failed": False, "reset_dag_runs": True}
        self.airflow.ask("POST", f"/dags/{self.dag_id}/clearTaskInstances", everything)


def free_port(wanted: int = 0) -> int:
    """
    Return a port of 127.0.0.1 where nobody listens.

    :param wanted: the one to try; 0 for any
    :raises OSError: somebody listens there
    """
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a past run's must not count
        free.bind(("127.0.0.1", wanted))
        port: int = free.getsockname()[1]
    return port


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
