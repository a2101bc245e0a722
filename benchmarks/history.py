"""A long history in PostgreSQL: how long the analysts' queries take, and the credit page in a real API server."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import urlopen

import sqlalchemy as sa

from airflow_provider_smspartner.sql.snapshots import HISTORY, snapshot_table
from airflow_provider_smspartner.sql.tables import prepare_table
from benchmarks.measure import Line, Spread, interleave
from tests.system.airflow import Airflow
from tests.system.celery.servers import connection_to, made_database

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

QUERIES = Path(__file__).parents[1] / "docs" / "analysts"
OF_THE_LAST_DAYS, OF_ALL = ("last_balance", "days_left"), ("consumption_per_day", "top_ups", "gaps")
PAGES = {
    "all accounts": "",
    "an account, 30 days": "account?conn_id=account_7",
    "its chart": "chart.svg?conn_id=account_7",
}
ACCOUNTS, DAYS = 50, 90

FILL = """
    INSERT INTO smspartner_credit_snapshots (
        snapshot_id, captured_at, smspartner_conn_id, credit_sms, balance, currency, dag_id, task_id, run_id, map_index
    )
    SELECT
        CAST(gen_random_uuid() AS TEXT),
        CURRENT_TIMESTAMP - INTERVAL '{days} days' * (n / {accounts}) / ({rows} / {accounts}),
        CONCAT('account_', MOD(n, {accounts})),
        1000 + MOD(n / {accounts}, 500), 1000.5 + MOD(n / {accounts}, 500), 'EUR',
        'dag', 'task', CONCAT('run ', n), -1
    FROM generate_series(0, {rows} - 1) AS series(n)
"""
"""Balances that fall, and are topped up now and then: ``n`` counts back in time."""


@dataclass(frozen=True)
class Size:
    """How many rows the table holds, and how often each query and page is asked for."""

    rows: tuple[int, ...]
    rounds: int


FULL, QUICK = Size(rows=(10_000, 100_000, 1_000_000), rounds=10), Size(rows=(500, 1000), rounds=1)


def measure(size: Size) -> list[Line]:
    """Return a line per number of rows and group of queries or page, and how much the longest history costs."""
    took = {rows: _measure_history(rows, size.rounds) for rows in size.rows}
    lines = [line for rows, each in took.items() for line in _lines(rows, each)]
    return [*lines, *_growth(took)]


def _measure_history(rows: int, rounds: int) -> dict[str, Spread]:
    with made_database("history") as url:
        engine = sa.create_engine(url)
        table = snapshot_table("smspartner_credit_snapshots")
        prepare_table(engine, table, create_table=True, indexed=HISTORY)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(FILL.format(rows=rows, accounts=ACCOUNTS, days=DAYS))
            connection.exec_driver_sql("VACUUM ANALYZE smspartner_credit_snapshots")
        with _web_pages(url) as address:
            queries: dict[str, Callable[[], object]] = {
                name: partial(_ask, engine, name) for name in (*OF_THE_LAST_DAYS, *OF_ALL)
            }
            sides = queries | {name: partial(_open, f"{address}{path}") for name, path in PAGES.items()}
            interleave(sides, rounds=1)
            took = interleave(sides, rounds)
        engine.dispose()
    return took


def _ask(engine: sa.Engine, name: str) -> object:
    query = (QUERIES / f"{name}.sql").read_text().replace("%", "%%")
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


def _lines(rows: int, took: dict[str, Spread]) -> Iterator[Line]:
    subjects = {"query of the last days": OF_THE_LAST_DAYS, "query of the whole history": OF_ALL, "page": tuple(PAGES)}
    for subject, names in subjects.items():
        slowest = max(names, key=lambda name: took[name].median)
        goal = 0.3 if subject == "page" else 0.2
        yield Line(
            f"the slowest {subject}",
            f"PostgreSQL, {rows:,} rows of {ACCOUNTS} accounts in {DAYS} days: {slowest}",
            took[slowest].told("ms", 1e3),
            "",
            f"{took[slowest].median:.2g} s",
            f"at most {goal} s",
            took[slowest].median <= goal,
        )


def _growth(took: dict[int, dict[str, Spread]]) -> Iterator[Line]:
    """Yield how much the query and the page cost that grow most, from the shortest history to the longest."""
    shortest, longest = min(took), max(took)
    times = longest / shortest
    for subject, names in {"queries": (*OF_THE_LAST_DAYS, *OF_ALL), "pages": tuple(PAGES)}.items():
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
