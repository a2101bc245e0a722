"""
Show the main job on real Airflow: hold a campaign until the account has credit, let it go, keep the history.

Needs nothing but this repository: the account is the sandbox's, the warehouse a SQLite file. With SMSPARTNER_API_KEY
set it asks the real API instead, which costs nothing: no task of the demo sends an SMS.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
HOME = ROOT / ".airflow-demo"
WAREHOUSE = HOME / "warehouse.db"
LOG = HOME / "demo.log"

GATE, SNAPSHOTS = "smspartner_gate_campaign", "smspartner_credit_snapshots"
TOLD = re.compile(r"airflow\.task(\.\w+\.airflow_provider_smspartner.*)?")
"""The loggers of our classes, and of the tasks that the example DAGs write themselves."""


def main() -> int:
    key = os.environ.pop("SMSPARTNER_API_KEY", None)
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir()
    say("SMS Partner provider: the main job, on real Airflow.")
    # Of somebody's own account the demo asks for no more than one SMS.
    campaign = {"recipients": 1, "sms_per_recipient": 1} if key else {"recipients": 2000, "sms_per_recipient": 2}
    with the_real_api(key) if key else a_sandbox() as (connection, when_it_waits):
        os.environ |= settings(connection)
        say(f"\nMaking an Airflow home in {HOME.relative_to(ROOT)} ...")
        run("airflow", "db", "migrate")
        say(f"\nDAG {GATE}: count the audience, wait for the credit it needs, send in chunks.")
        run(sys.executable, "-m", "demo", GATE, json.dumps(campaign), when_it_waits=when_it_waits)
        say(f"\nDAG {SNAPSHOTS}: one row a run.")
        run(sys.executable, "-m", "demo", SNAPSHOTS, "{}")
    show_table()
    return 0


@contextmanager
def a_sandbox() -> Iterator[tuple[str, Callable[[int], None]]]:
    """Serve an account with too little credit, to be topped up when the gate has seen that twice."""
    from airflow_provider_smspartner.sandbox import SMSPartnerSandbox

    with SMSPartnerSandbox(balance="100.00") as sandbox:
        say("The account is a sandbox on this machine, not the real API. It holds 100.00 EUR, which buys 2631 SMS;")
        say("the campaign takes 2000 recipients x 2 SMS = 4000.")

        def top_up(times_waited: int) -> None:
            if times_waited == 2:
                say(f"      ... the sandbox is topped up by 100.00 EUR and holds {sandbox.top_up('100.00')} EUR now")

        yield sandbox.connection_json(), top_up


@contextmanager
def the_real_api(key: str) -> Iterator[tuple[str, Callable[[int], None]]]:
    """Use the account of that key as it is."""
    say("SMSPARTNER_API_KEY is set: this asks the REAL API of SMS Partner. No SMS is sent.")
    yield json.dumps({"conn_type": "smspartner", "password": key}), lambda _: None


def settings(connection: str) -> dict[str, str]:
    return {
        "AIRFLOW_HOME": str(HOME),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "example_dags"),
        "AIRFLOW__LOGGING__JSON_LOGS": "True",
        "AIRFLOW_CONN_SMSPARTNER_DEFAULT": connection,
        "AIRFLOW_CONN_WAREHOUSE": json.dumps({"conn_type": "sqlite", "host": str(WAREHOUSE)}),
    }


def run(*command: str, when_it_waits: Callable[[int], None] = lambda _: None) -> None:
    """Run a command; show what tasks say, keep all that Airflow says in the log file, and end the demo if it fails."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    times_waited = 0
    with LOG.open("a") as log:
        for line in process.stdout:
            log.write(line)
            if (told := told_by_a_task(line)) is None:
                continue
            say(f"  {told}")
            if told.endswith("not enough"):
                times_waited += 1
                when_it_waits(times_waited)
    if process.wait() != 0:
        sys.exit(f"\nThe demo FAILED in {command[-2]} {command[-1]}. All that Airflow said is in {LOG}")


def told_by_a_task(line: str) -> str | None:
    """Return time and text of a log line that our classes or the DAG's own tasks wrote; None for Airflow's others."""
    try:
        record = json.loads(line)
        logger, clock, event = record["logger"], record["timestamp"][11:19], record["event"]
    except (ValueError, KeyError, TypeError):
        return None
    errors = [cause["exc_value"] for cause in record.get("error_detail") or () if "SMSPartner" in cause["exc_type"]]
    if errors:
        return f"{clock}  {'; '.join(errors)}"
    return f"{clock}  {event}" if TOLD.fullmatch(logger) else None


def run_dag(dag_id: str, conf: str) -> int:
    """Run one of the example DAGs to its end in this process, on Airflow's own task runner."""
    from airflow.dag_processing.dagbag import DagBag

    dag = DagBag().get_dag(dag_id)
    for task in dag.tasks:
        if task.task_type == "CreditsSensor":
            task.poke_interval = 1.0  # the example's minute is for real life
            task.timeout = 60.0
    return 0 if dag.test(run_conf=json.loads(conf)).state == "success" else 1


def show_table() -> None:
    columns = ["captured_at", "smspartner_conn_id", "credit_sms", "to_send", "balance", "currency", "dag_id", "task_id"]
    with closing(sqlite3.connect(WAREHOUSE)) as warehouse:
        query = f"SELECT {', '.join(columns)} FROM smspartner_credit_snapshots ORDER BY captured_at"
        rows = [["" if value is None else str(value) for value in row] for row in warehouse.execute(query)]
    for row in rows:
        row[0] = row[0][:19]
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    say("\nThe history, in the table smspartner_credit_snapshots:\n")
    for row in [columns, ["-" * width for width in widths], *rows]:
        say("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    say(f"\nIt lies in {WAREHOUSE} (SQLite); all that Airflow said is in {LOG}")


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(run_dag(*sys.argv[1:]) if sys.argv[1:] else main())
