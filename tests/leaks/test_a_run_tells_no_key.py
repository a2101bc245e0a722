"""A run of every kind of task on a real Airflow: what is logged, stored and sent of it tells no key."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from tests.airflow_versions import AIRFLOW
from tests.spellings import PLANTED

PROGRAM = Path(__file__).with_name("every_kind_of_task.py")

LOGGED = (
    "apiKey=***",
    "sms available",
    "are free, 1 needed: reserved",
    ": 1 released",
    "running trigger in line",
    "Task failed with exception",
)
"""What tasks log of HTTP requests, of readings, of a gate in the triggerer, and of errors."""

PASSWORD = "Pa55-of-no-ledger"

TABLES = {
    "xcom": "fetched_at",
    "rendered_task_instance_fields": "right_0",
    "asset_event" if AIRFLOW >= (3, 0) else "dataset_event": "credit_sms_low_cost",
    "task_instance": "deferred_gate_0",
    "dag_run": "every_kind",
    "serialized_dag": "CreditsSensor",
}
"""What Airflow stores of a run: by table, something that belongs there."""

LEDGER = {"": "reserve_on_late_4", "_accounts": "late_4"}
"""The same of the ledger's tables that a run without a deduction writes to."""


@pytest.fixture
def connections(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Make Airflow connections with each planted key: one that works, and others that go wrong in one way each."""
    with ExitStack() as running:
        account = running.enter_context(SMSPartnerSandbox(api_key=list(PLANTED.values())))
        stranger = running.enter_context(SMSPartnerSandbox(api_key="another"))
        with SMSPartnerSandbox() as gone:
            refused = gone.url
        connections = {"warehouse": json.dumps({"conn_type": "sqlite", "host": str(tmp_path / "warehouse.db")})}
        connections["ledger"] = json.dumps({"conn_type": "sqlite", "host": str(tmp_path / "ledger.db")})
        no_ledger = {"conn_type": "postgres", "host": "127.0.0.1", "login": "nobody-here", "password": PASSWORD}
        connections["no_ledger"] = json.dumps(no_ledger | {"schema": "no-such-database"})
        for number, key in enumerate(PLANTED.values()):
            late = running.enter_context(SMSPartnerSandbox(api_key=key))
            late.fail_next(http_status=503, body=key)
            busy = running.enter_context(SMSPartnerSandbox(api_key=key))
            busy.fail_next(http_status=503, body=key)  # which has a gate leave for the triggerer
            right = json.loads(account.connection_json(key, max_retries=0))
            connections |= {
                f"right_{number}": json.dumps(right),
                f"wrong_{number}": stranger.connection_json(key, max_retries=0),
                f"late_{number}": late.connection_json(max_retries=0),
                f"busy_{number}": busy.connection_json(max_retries=0),
                f"refused_{number}": json.dumps(right | {"host": refused}),
                f"bad_{number}": account.connection_json(key, timeout=key),
                f"unreadable_{number}": json.dumps(right | {"port": "x"}),
            }
        yield connections


def run_every_kind_of_task(home: Path, connections: dict[str, str]) -> str:
    """Run the DAG in a process of its own, as OpenLineage would stay on for all other tests; return what it logged."""
    lineage = {"type": "file", "log_file_path": str(home / "lineage.jsonl"), "append": True}
    environment = os.environ | {f"AIRFLOW_CONN_{name.upper()}": given for name, given in connections.items()}
    environment |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(lineage),
    }
    program = [sys.executable, str(PROGRAM)]
    ran = subprocess.run(program, env=environment, check=True, capture_output=True, text=True, timeout=300)
    lines = f"{ran.stdout}\n{ran.stderr}".splitlines()
    # Airflow's own word to itself, which only a DAG that runs in one process shows, and only at DEBUG.
    return "\n".join(line for line in lines if "msg=MaskSecret(" not in line)


def cells(database: Path, table: str) -> str:
    with closing(sqlite3.connect(database)) as connection:
        connection.text_factory = lambda stored: stored.decode(errors="replace")
        rows = connection.execute(f'SELECT * FROM "{table}"').fetchall()
    return "\n".join(
        cell.decode(errors="replace") if isinstance(cell, bytes) else str(cell) for row in rows for cell in row
    )


def tables(database: Path) -> set[str]:
    with closing(sqlite3.connect(database)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def test_a_run_of_every_kind_of_task_tells_no_key(tmp_path: Path, connections: dict[str, str], search: Any) -> None:
    pytest.importorskip("airflow.providers.openlineage", reason="apache-airflow-providers-openlineage is not installed")
    keys = [*PLANTED.values(), PASSWORD]
    log = run_every_kind_of_task(tmp_path, connections)
    search("the logs of tasks, at DEBUG", log, LOGGED, *keys)
    metadata = tmp_path / "airflow.db"
    for table, proof in TABLES.items():
        search(f"Airflow's table {table}", cells(metadata, table), proof, *keys)
    others = tables(metadata) - TABLES.keys()
    search("Airflow's other tables", "\n".join(cells(metadata, table) for table in others), "figures", *keys)
    search(
        "the rows of the snapshots", cells(tmp_path / "warehouse.db", "smspartner_credit_snapshots"), "right_4", *keys
    )
    for table, proof in LEDGER.items():
        rows = cells(tmp_path / "ledger.db", f"smspartner_credit_reservations{table}")
        search("the rows of the reservations", rows, proof, *keys, "sandbox@example.com")
    search("OpenLineage's events", (tmp_path / "lineage.jsonl").read_text(), "smspartner_credit_snapshots", *keys)
