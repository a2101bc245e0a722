"""One snapshot on a whole Airflow: its tasks, and all that Airflow needs to start them in a worker."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from benchmarks import peer
from benchmarks.accounts import Account, sqlite_connection
from benchmarks.measure import Line, Spread, in_random_order, ratio_line
from benchmarks.whole import run_airflow

if TYPE_CHECKING:
    from tests.system.airflow import Airflow

SIDES = {"package": ("package_snapshot", 1), "peer": ("peer_snapshot", 2)}
"""By side: the DAG, and how many tasks it has."""


@dataclass(frozen=True)
class Size:
    """How often each side takes a snapshot."""

    rounds: int


FULL, QUICK = Size(rounds=10), Size(rounds=1)


def measure(size: Size) -> list[Line]:
    """Return what a run took from the start of its first task to the end of its last, and its tasks by themselves."""
    runs: dict[str, list[float]] = defaultdict(list)
    tasks: dict[str, list[float]] = defaultdict(list)
    with TemporaryDirectory() as home, SMSPartnerSandbox("10225.119") as account:
        named = {
            "package": account.connection_json(),
            peer.CONN_ID: Account(account.url, "sandbox-key").http_connection(),
            "warehouse": sqlite_connection(home),
        }
        with sqlite3.connect(Path(home) / "credits.db") as warehouse:
            warehouse.execute(peer.SNAPSHOT_TABLE)
        with run_airflow(home, named, interval=60) as airflow:
            for side in ["package", "peer", *in_random_order(SIDES, size.rounds)]:
                whole, by_themselves = _seconds(airflow, *SIDES[side])
                runs[side].append(whole)
                tasks[side].append(by_themselves)
    case = "HttpOperator, then SQLExecuteQueryOperator"
    # The first run of each is left out: this package makes its table in it.
    return [
        ratio_line(figure, case, Spread.of(took["package"][1:]), ("peer", Spread.of(took["peer"][1:])), None, unit="s")
        for figure, took in {
            "one snapshot on a whole Airflow, from its first task's start to its last one's end": runs,
            "its tasks, from the start of each to its end": tasks,
        }.items()
    ]


def _seconds(airflow: Airflow, dag_id: str, tasks: int) -> tuple[float, float]:
    run = airflow.trigger(dag_id)
    run.wait_for(tasks, "success")
    moments = [
        tuple(datetime.fromisoformat(task[name]).timestamp() for name in ("start_date", "end_date"))
        for task in run.tasks()
    ]
    starts, ends = zip(*moments, strict=True)
    return max(ends) - min(starts), sum(ends) - sum(starts)
