"""
Show the main job on real Airflow: two campaigns at once on credit for one, and nobody ends short.

Each reserves its credit, sends in chunks, deducts what it sent and releases the rest. The second one waits until the
first has sent and the account was topped up. The history of the account is kept in a table.

Needs nothing but this repository: the account is the sandbox's, the databases are SQLite files. With SMSPARTNER_API_KEY
set it asks the real API instead, which costs nothing: no task of the demo sends an SMS.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from threading import Event
from typing import Any
from urllib.request import urlopen

ROOT = Path(__file__).parents[1]
HOME = ROOT / ".airflow-demo"
WAREHOUSE = HOME / "warehouse.db"
LEDGER = HOME / "ledger.db"
LOG = HOME / "demo.log"
SPENT_AT = "SMSPARTNER_DEMO_SPENT_AT"
"""Names the variable with the URL at which a campaign of the demo spends the sandbox's money."""

CAMPAIGN, SNAPSHOTS = "smspartner_reserve_campaign", "smspartner_credit_snapshots"
PRICE = Decimal("0.038")
"""Of one SMS, in the sandbox."""
Account = tuple[str, dict[str, Any], Callable[[], None] | None]
"""The connection to an account, what to send from it, and how to top it up."""
TOLD = re.compile(r"airflow\.task(\.\w+\.airflow_provider_smspartner.*)?")
"""The loggers of our classes, and of the tasks that the example DAGs write themselves."""


def main() -> int:
    key = os.environ.pop("SMSPARTNER_API_KEY", None)
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir()
    say("SMS Partner provider: the main job, on real Airflow.")
    with the_real_api(key) if key else a_sandbox() as (connection, campaign, top_up):
        os.environ |= settings(connection)
        say(f"\nMaking an Airflow home in {HOME.relative_to(ROOT)} ...")
        run("airflow", "db", "migrate")
        say(f"\nDAG {SNAPSHOTS}: one row a run.")
        run_in_airflow(SNAPSHOTS)
        say(f"\nDAG {CAMPAIGN}, twice at once: reserve the credit, send in chunks, deduct each, release the rest.")
        run_two_campaigns(campaign, top_up)
        say(f"\nDAG {SNAPSHOTS}, once more.")
        run_in_airflow(SNAPSHOTS)
    show_tables()
    return 0


@contextmanager
def a_sandbox() -> Iterator[Account]:
    """Serve an account with credit for one campaign of two; sending spends it."""
    from airflow_provider_smspartner.sandbox import SMSPartnerSandbox

    with SMSPartnerSandbox(balance="200.00") as sandbox:
        say("The account is a sandbox on this machine, not the real API. It holds 200.00 EUR, which buys 5263 SMS;")
        say("each of two campaigns takes 2000 recipients x 2 SMS = 4000, and really spends the sandbox's money.")

        def top_up() -> None:
            say(f"      ... the sandbox is topped up by 110.00 EUR and holds {sandbox.top_up('110.00')} EUR now")

        os.environ[SPENT_AT] = f"{sandbox.url.removesuffix('/v1')}/sandbox/spend"
        yield sandbox.connection_json(), {"recipients": 2000, "sms_per_recipient": 2}, top_up
        say(f"\nBoth campaigns have sent all of their 4000 SMS. The sandbox holds {sandbox.balance} EUR.")


@contextmanager
def the_real_api(key: str) -> Iterator[Account]:
    """Use the account of that key as it is; of somebody's own account the demo asks for no more than one SMS."""
    say("SMSPARTNER_API_KEY is set: this asks the REAL API of SMS Partner. No SMS is sent.")
    connection = json.dumps({"conn_type": "smspartner", "password": key})
    yield connection, {"recipients": 1, "sms_per_recipient": 1}, None


def run_two_campaigns(campaign: dict[str, Any], top_up: Callable[[], None] | None) -> None:
    """Run two at once; top the account up when one has sent and the other one waits."""
    waits = Event()

    def heard(told: str) -> None:
        if "not enough" in told:
            waits.set()

    def run_one(number: int) -> None:
        # A database for each: SQLite is no place for two Airflows to write to.
        database = HOME / f"airflow-{number}.db"
        shutil.copy(HOME / "airflow.db", database)
        its_own = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{database}"}
        run_in_airflow(CAMPAIGN, campaign, who=f"campaign {number}  ", heard=heard, **its_own)

    with ThreadPoolExecutor(2) as both:
        running = [both.submit(run_one, number) for number in (1, 2)]
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for campaign_that_ended in done:
            campaign_that_ended.result()
        if top_up:
            waits.wait(timeout=60)
            top_up()
        for each in running:
            each.result()


def settings(connection: str) -> dict[str, str]:
    return {
        "AIRFLOW_HOME": str(HOME),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "example_dags"),
        "AIRFLOW__LOGGING__JSON_LOGS": "True",
        "AIRFLOW_CONN_SMSPARTNER_DEFAULT": connection,
        "AIRFLOW_CONN_WAREHOUSE": json.dumps({"conn_type": "sqlite", "host": str(WAREHOUSE)}),
        "AIRFLOW_CONN_LEDGER": json.dumps({"conn_type": "sqlite", "host": str(LEDGER)}),
    }


def run_in_airflow(dag_id: str, conf: dict[str, Any] | None = None, **how: Any) -> None:
    """Run an example DAG in a process of its own."""
    run(sys.executable, "-m", "demo", dag_id, json.dumps(conf or {}), **how)


def run(*command: str, who: str = "", heard: Callable[[str], None] = lambda _: None, **environment: str) -> None:
    """Run a command; show what tasks say, keep all that Airflow says in the log file, and end the demo if it fails."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    its_own = os.environ | {"PATH": path} | environment
    process = subprocess.Popen(command, env=its_own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    with LOG.open("a") as log:
        for line in process.stdout:
            log.write(line)
            if (told := told_by_a_task(line)) is None:
                continue
            say(f"  {who}{told}")
            heard(told)
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
        if task.task_id == "reserve":
            task.poke_interval = 1.0  # the example's minute is for real life
            task.timeout = 60.0
            task.settles_after = timedelta(0)  # the sandbox shows at once what was spent
            task.skip_on_timeout = False
        if task.task_id == "send_chunk" and SPENT_AT in os.environ:
            task.python_callable.__globals__["send_stand_in"] = spend
    return 0 if dag.test(run_conf=json.loads(conf)).state == "success" else 1


def spend(first: int, last: int, sms: int) -> None:
    """Send in the way of the demo: spend the sandbox's money, and fail where it holds less."""
    price = sms * PRICE
    with urlopen(f"{os.environ[SPENT_AT]}?amount={price}", data=b"") as answer:
        left = json.load(answer)["balance"]
    logging.getLogger("airflow.task").info(
        "%d SMS to recipients %d to %d cost %s EUR, %s EUR are left", sms, first + 1, last, price, left
    )


def show_tables() -> None:
    say("\nWho reserved and used what, in the table smspartner_credit_reservations:\n")
    show(
        LEDGER,
        "SELECT substr(requested_at, 1, 19) AS requested_at, substr(granted_at, 1, 19) AS granted_at,"
        " substr(ended_at, 1, 19) AS ended_at, ended_how, CAST(amount AS INTEGER) AS amount,"
        " CAST(deducted AS INTEGER) AS deducted, credit_type, balance, currency"
        " FROM smspartner_credit_reservations ORDER BY requested_version",
    )
    say("\nThe history, in the table smspartner_credit_snapshots:\n")
    show(
        WAREHOUSE,
        "SELECT substr(captured_at, 1, 19) AS captured_at, smspartner_conn_id, credit_sms, to_send, balance, currency,"
        " dag_id, task_id FROM smspartner_credit_snapshots ORDER BY captured_at",
    )
    say(f"\nThey lie in {LEDGER} and {WAREHOUSE} (SQLite); all that Airflow said is in {LOG}")


def show(database: Path, query: str) -> None:
    """Print what a query returns."""
    with closing(sqlite3.connect(database)) as connection:
        cursor = connection.execute(query)
        columns = [name for name, *_ in cursor.description]
        rows = [["" if value is None else str(value) for value in row] for row in cursor]
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for row in [columns, ["-" * width for width in widths], *rows]:
        say("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(run_dag(*sys.argv[1:]) if sys.argv[1:] else main())
