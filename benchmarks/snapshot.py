"""One snapshot of one account into a warehouse, compared with the two tasks that do the same by hand."""

from __future__ import annotations

from dataclasses import dataclass
from tempfile import TemporaryDirectory

from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator

from airflow_provider_smspartner.operators.credits import CreditsToSqlOperator
from benchmarks import peer
from benchmarks.accounts import connections, serve, sqlite_connection
from benchmarks.measure import Line, interleave, ratio_line
from benchmarks.task import task_context


@dataclass(frozen=True)
class Size:
    """How often each side takes a snapshot."""

    rounds: int


FULL, QUICK = Size(rounds=100), Size(rounds=2)


def measure(size: Size) -> list[Line]:
    """Return this package's time against the peer's; neither holds what Airflow needs to start a task."""
    with serve("benchmark-key") as (account,), TemporaryDirectory() as folder:
        named = {"package": account.connection(), peer.CONN_ID: account.http_connection()}
        with connections(named | {"warehouse": sqlite_connection(folder)}):
            sides = {"package": _package, "peer": lambda: peer.snapshot(account.key, "warehouse", task_context())}
            SQLExecuteQueryOperator(task_id="table", conn_id="warehouse", sql=peer.SNAPSHOT_TABLE).execute({})
            interleave(sides, rounds=2)
            took = interleave(sides, size.rounds)
    figure = "one snapshot of one account into SQLite, the tasks' own time"
    return [
        ratio_line(figure, "HttpOperator, then SQLExecuteQueryOperator", took["package"], ("peer", took["peer"]), 1.0)
    ]


def _package() -> object:
    operator = CreditsToSqlOperator(task_id="snapshot", sql_conn_id="warehouse", smspartner_conn_id="package")
    return operator.execute(task_context())
