"""A long history in PostgreSQL: how long the analysts' queries take, and the credit page in a real API server."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple
from urllib.error import HTTPError
from urllib.request import urlopen

import sqlalchemy as sa

from airflow_provider_smspartner.sql.snapshots import HISTORY, snapshot_table
from airflow_provider_smspartner.sql.tables import prepare_table
from benchmarks.measure import Line, Spread, interleave
from tests import analysts
from tests.system.airflow import Airflow
from tests.system.celery.servers import connection_to, made_database

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

PAGES = {
    "all accounts": "",
    "an account, 30 days": "account?conn_id=account_7",
    "its chart": "chart.svg?conn_id=account_7",
}
ACCOUNTS = 50

FILL = """
    INSERT INTO smspartner_credit_snapshots (
        snapshot_id, captured_at, smspartner_conn_id, credit_sms, balance, currency, dag_id, task_id, run_id, map_index
    )
    SELECT
        CAST(gen_random_uuid() AS TEXT),
        CURRENT_TIMESTAMP - INTERVAL '{minutes} minutes' * (n / {accounts}),
        CONCAT('account_', MOD(n, {accounts})),
        1000 + MOD(n / {accounts}, 500), 1000.5 + MOD(n / {accounts}, 500), 'EUR',
        'dag', 'task', CONCAT('run ', n), -1
    FROM generate_series(0, {rows} - 1) AS series(n)
"""
"""Balances that fall, and are topped up now and then: ``n`` counts back in time."""


class History(NamedTuple):
    """How many rows the table holds, and how many minutes after an account's last snapshot its next one was taken."""

    rows: int
    minutes: int = 60

    def __str__(self) -> str:
        days = self.rows / ACCOUNTS * self.minutes / 1440
        return f"PostgreSQL, {self.rows:,} rows: {ACCOUNTS} accounts every {self.minutes} minutes for {days:.0f} days"


@dataclass(frozen=True)
class Size:
    """The histories, one that goals are not set for, and how often each query and page is asked for."""

    histories: tuple[History, ...]
    dense: History
    rounds: int


FULL = Size(tuple(map(History, (10_000, 100_000, 1_000_000))), History(1_000_000, minutes=6), rounds=10)
QUICK = Size((History(500), History(1000)), History(1000, minutes=6), rounds=1)


def measure(size: Size) -> list[Line]:
    """Return a line per history for the queries and for the pages, and how much the longest history costs."""
    took = {history: _measure_history(history, size.rounds) for history in (*size.histories, size.dense)}
    lines = [line for history in took for line in _lines(history, took[history], has_goal=history != size.dense)]
    return [*lines, *_growth({history.rows: took[history] for history in size.histories})]


def _measure_history(history: History, rounds: int) -> dict[str, Spread]:
    with made_database("history") as url:
        engine = sa.create_engine(url)
        table = snapshot_table("smspartner_credit_snapshots")
        prepare_table(engine, table, create_table=True, indexed=HISTORY)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(FILL.format(rows=history.rows, accounts=ACCOUNTS, minutes=history.minutes))
            connection.exec_driver_sql("VACUUM ANALYZE smspartner_credit_snapshots")
        with _web_pages(url) as address:
            queries: dict[str, Callable[[], object]] = {name: partial(_ask, engine, name) for name in analysts.QUERIES}
            sides = queries | {name: partial(_open, f"{address}{path}") for name, path in PAGES.items()}
            interleave(sides, rounds=1)
            took = interleave(sides, rounds)
        engine.dispose()
    return took


def _ask(engine: sa.Engine, name: str) -> object:
    query = (analysts.PAGE / f"{name}.sql").read_text().replace("%", "%%")
    with engine.connect() as connection:
        return connection.exec_driver_sql(query).all()


def _open(address: str) -> bytes:
    with urlopen(address, timeout=60) as answer:
        page: bytes = answer.read()
    return page


@contextmanager
def _web_pages(warehouse: URL) -> Iterator[str]:
    """Run Airflow's API server alone; yield the address of the credit page."""
    with TemporaryDirectory() as home:
        airflow = Airflow(
            Path(sys.prefix),
            Path(home),
            Path(home) / "dags",
            {"warehouse": connection_to(warehouse)},
            logging__logging_level="INFO",
            smspartner__snapshots_conn_id="warehouse",
        )
        airflow.make_database()
        airflow.start_web()
        address = f"http://127.0.0.1:{airflow.port}/smspartner/"
        try:
            airflow.until(lambda: _answers(address), timeout=180)
            yield address
        finally:
            airflow.stop()


def _answers(address: str) -> bool:
    try:
        return bool(_open(address))
    except HTTPError:
        raise
    except OSError:  # nobody listens yet
        return False


def _lines(history: History, took: dict[str, Spread], *, has_goal: bool) -> Iterator[Line]:
    for subject, names, goal in (("query", analysts.QUERIES, 0.2), ("page", list(PAGES), 0.3)):
        slowest = max(names, key=lambda name: took[name].median)
        yield Line(
            f"the slowest {subject}",
            f"{history}: {slowest}",
            took[slowest].told("ms", 1e3),
            "",
            f"{took[slowest].median:.2g} s",
            f"at most {goal} s" if has_goal else "",
            took[slowest].median <= goal if has_goal else None,
        )


def _growth(took: dict[int, dict[str, Spread]]) -> Iterator[Line]:
    """Yield how much the query and the page cost that grow most, from the shortest history to the longest."""
    shortest, longest = min(took), max(took)
    times = longest / shortest
    for subject, names in {"queries": analysts.QUERIES, "pages": list(PAGES)}.items():
        growth = {name: took[longest][name].median / took[shortest][name].median for name in names}
        worst = max(growth, key=lambda name: growth[name])
        yield Line(
            f"{subject}, {longest:,} rows against {shortest:,}",
            f"{worst}, which grows most",
            took[longest][worst].told("ms", 1e3),
            f"itself: {took[shortest][worst].told('ms', 1e3)}",
            f"{growth[worst]:.2f}",
            f"under {times:.0f}",
            growth[worst] < times,
        )
