"""
Run a real Airflow to look around in: its web pages, the example DAGs, and a sandbox in place of SMS Partner.

``make airflow`` sets up what it needs. Everything listens on this machine alone, and Ctrl-C stops all of it.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import create_engine

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from demo.history import write_history
from tests.system.airflow import Airflow, free_port

ROOT = Path(__file__).parents[1]
STATE = ROOT / ".airflow-look-around"
HOME = STATE / "home"

ACCOUNTS = ["smspartner_default", "smspartner_paris", "smspartner_lyon", "smspartner_nantes"]
"""The connections that the example DAGs name: one account here, with a key for each."""
STAYS_PAUSED = "smspartner_warehouse"
STOPS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


def main(environment: str) -> int:
    """Run until somebody presses Ctrl-C or a part of Airflow ends; return the exit code."""
    for how in STOPS:
        signal.signal(how, signal.default_int_handler)
    STATE.mkdir(exist_ok=True)
    with (STATE / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("It runs already, in another terminal. Ctrl-C there stops it.")
            return 1
        try:
            return look_around(ROOT / environment)
        except KeyboardInterrupt:
            say("Stopped. Nothing is left running.")
            return 0
        except (AssertionError, TimeoutError) as error:
            say(f"Airflow did not start: {error}\nAll of its logs: {HOME}")
            return 1


def look_around(environment: Path) -> int:
    """Start everything, say where to click, and wait; return what went wrong as an exit code."""
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir()
    engine = create_engine(f"sqlite:///{HOME / 'warehouse.db'}")
    write_history(engine)
    engine.dispose()
    keys = [f"sandbox-key-of-{conn_id}" for conn_id in ACCOUNTS]
    airflow = Airflow(
        environment,
        HOME,
        ROOT / "example_dags",
        {},
        port=preferred_port(8080),
        core__dags_are_paused_at_creation="True",  # until there are connections
        core__test_connection="Enabled",
        logging__logging_level="INFO",
        smspartner__snapshots_conn_id="warehouse",
        smspartner__reservations_conn_id="ledger",
    )
    say("A real Airflow with the example DAGs, on this machine alone. Starting it takes half a minute or more ...")
    with SMSPartnerSandbox("100.00", keys, port=preferred_port(8025)) as sandbox, running(airflow):
        for conn_id, key in zip(ACCOUNTS, keys, strict=True):
            connect(airflow, conn_id, json.loads(sandbox.connection_json(key)))
        for conn_id in ("warehouse", "ledger"):
            connect(airflow, conn_id, {"conn_type": "sqlite", "host": str(HOME / f"{conn_id}.db")})
        for dag in airflow.ask("GET", "/dags")["dags"]:
            if dag["dag_id"] != STAYS_PAUSED:
                airflow.ask("PATCH", f"/dags/{dag['dag_id']}", {"is_paused": False})
        say(introduction(f"http://127.0.0.1:{airflow.port}", sandbox.url.removesuffix("/v1")))
        while not (ended := airflow.ended()):
            time.sleep(1)
        say(f"A part of Airflow has ended by itself, and its log says why: {', '.join(map(str, ended))}")
        return 1


@contextmanager
def running(airflow: Airflow) -> Iterator[None]:
    """Run Airflow; stop what was started of it, whatever happens, a second Ctrl-C included."""
    try:
        airflow.start()
        yield
    finally:
        for how in STOPS:
            signal.signal(how, signal.SIG_IGN)
        say("\nStopping ...")
        airflow.stop()


def connect(airflow: Airflow, conn_id: str, connection: dict[str, object]) -> None:
    """Make a connection where the web pages show it."""
    # The button Test of Airflow 3.3.2 is refused where no port is stored.
    port = urlsplit(str(connection["host"])).port
    extra = json.dumps(connection.get("extra", {}))
    airflow.ask("POST", "/connections", connection | {"connection_id": conn_id, "port": port, "extra": extra})


def preferred_port(port: int) -> int:
    """Return the port, or another one if somebody listens there."""
    try:
        return free_port(port)
    except OSError:
        other = free_port()
        say(f"Port {port} is taken: {other} stands in for it.")
        return other


def introduction(airflow: str, sandbox: str) -> str:
    """Say where to click."""
    return f"""
  Look at   {airflow}/dags/smspartner_first_gate
            No password is asked for. Press Trigger, and once more in the form; then click the task enough_credit.
            Its log says what it waits for: 2631 SMS are there, 5000 are needed.
  Top up    In another terminal: curl -X POST '{sandbox}/sandbox/top-up?amount=100'
            Within twenty seconds or so the gate is open, and the task "send" has run.
  Then      {airflow}/dags/smspartner_gate_campaign (a campaign, of which the sending is a line in a log)
            {airflow}/dags/smspartner_reserve_campaign (the same, with its credit set aside)
            {airflow}/plugin/smspartner_credit (all accounts at a glance, with a month that is made up)
            {airflow}/connections (their form, the button Test)
            All DAGs are on but {STAYS_PAUSED}, which wants a schema that SQLite has not.
  Logs      {HOME.relative_to(ROOT)}

The account is a sandbox on this machine, not the real API. Ctrl-C stops everything."""


def say(text: str) -> None:
    """Tell the person at the terminal."""
    with suppress(OSError):  # the terminal was closed, and there is still something to stop
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
