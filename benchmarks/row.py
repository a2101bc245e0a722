"""One row written into a table of many, compared with the bare upsert of such a row in the database's own words."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import DBAPIError

from airflow_provider_smspartner.sql.snapshots import HISTORY, Snapshot, snapshot_table, write_snapshots
from airflow_provider_smspartner.sql.tables import prepare_table
from benchmarks.measure import Line, Spread, interleave, ratio_line

SERVERS = {
    "PostgreSQL": os.environ.get("TEST_POSTGRESQL_URL", "postgresql+psycopg2://postgres@127.0.0.1:5432/test"),
    "MariaDB": os.environ.get("TEST_MARIADB_URL", "mysql+pymysql://root@127.0.0.1:3306/test"),
}
SERIES = {
    "postgresql": ("generate_series(1, {rows}) AS series(n)", "CAST(gen_random_uuid() AS TEXT)"),
    "mysql": ("(SELECT seq AS n FROM seq_1_to_{rows}) AS series", "UUID()"),
    "duckdb": ("range({rows}) AS series(n)", "CAST(uuid() AS VARCHAR)"),
    "sqlite": (
        "(WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series LIMIT {rows}) SELECT n FROM series)",
        "lower(hex(randomblob(18)))",
    ),
}
"""How each database makes rows up by itself: where from, and a key of 36 characters that chance decides."""

FIGURE = "one row written"
WARM_UP = 3


@dataclass(frozen=True)
class Size:
    """How many rows the tables hold beforehand, and how often each side writes one."""

    rows: tuple[int, ...]
    rounds: int


FULL, QUICK = Size(rows=(1, 10_000, 1_000_000), rounds=300), Size(rows=(1, 100), rounds=3)


def measure(size: Size) -> list[Line]:
    """Return a line per database and table, and how much the largest table costs over the smallest."""
    with TemporaryDirectory() as folder:
        files = {name: f"{name.lower()}:///{Path(folder) / name}.db" for name in ("SQLite", "DuckDB")}
        return [line for name, url in (SERVERS | files).items() for line in _measure_database(name, url, size)]


def _measure_database(name: str, url: str, size: Size) -> Iterator[Line]:
    engine = sa.create_engine(url)
    try:
        engine.connect().close()
    except DBAPIError as error:
        yield Line(FIGURE, name, "", "", f"left out: {type(error.orig).__name__}, no server there", "at most 1.3", None)
        return
    package: list[Spread] = []
    for rows in size.rows:
        with _table_of(engine, rows) as table:
            # Made beforehand: the write alone is measured.
            snapshots = [_snapshot(f"run {number}") for number in range(2 * (size.rounds + WARM_UP))]
            package_left, bare_left = iter(snapshots[::2]), iter([asdict(snapshot) for snapshot in snapshots[1::2]])
            sides = {
                "package": _package_write(engine, table, package_left),
                "bare": _bare_write(engine, table, bare_left),
            }
            interleave(sides, WARM_UP)
            took = interleave(sides, size.rounds)
        package.append(took["package"])
        yield ratio_line(FIGURE, f"{name}, {rows:,} rows", took["package"], ("baseline", took["bare"]), 1.3)
    growth = package[-1].median / package[0].median
    yield Line(
        FIGURE,
        f"{name}, {size.rows[-1]:,} rows against {size.rows[0]:,}",
        package[-1].told("ms", 1e3),
        f"itself: {package[0].told('ms', 1e3)}",
        f"{growth:.2f}",
        "flat: at most 1.3",
        growth <= 1.3,
    )
    engine.dispose()


@contextmanager
def _table_of(engine: sa.Engine, rows: int) -> Iterator[sa.Table]:
    """Make a table that holds so many rows already, which the database makes up itself."""
    table = snapshot_table(f"smspartner_benchmark_{os.getpid()}")
    prepare_table(engine, table, create_table=True, indexed=HISTORY)
    source, key = SERIES[engine.dialect.name]
    names = ["snapshot_id", "captured_at", "smspartner_conn_id", "dag_id", "task_id", "run_id", "map_index"]
    values = f"{key}, CURRENT_TIMESTAMP, 'account', 'dag', 'task', CONCAT('run ', n), -1"
    if engine.dialect.name == "sqlite":
        values = values.replace("CONCAT('run ', n)", "'run ' || n").replace(
            "CURRENT_TIMESTAMP", "'2026-01-01 00:00:00'"
        )
    try:
        with engine.begin() as connection:
            fill = f"INSERT INTO {table.name} ({', '.join(names)}) SELECT {values} FROM {source.format(rows=rows)}"
            connection.exec_driver_sql(fill.replace("%", "%%"))
        yield table
    finally:
        table.drop(engine)


def _package_write(engine: sa.Engine, table: sa.Table, snapshots: Iterator[Snapshot]) -> Callable[[], object]:
    return lambda: write_snapshots(engine, table, [next(snapshots)])


def _bare_write(engine: sa.Engine, table: sa.Table, rows: Iterator[dict[str, object]]) -> Callable[[], object]:
    """Return the write of somebody who knows SQLAlchemy: the statement is made once, and compiled once."""
    others = [column.name for column in table.columns if column.name != "snapshot_id"]
    if engine.dialect.name == "mysql":
        on_key = mysql.insert(table)
        statement = on_key.on_duplicate_key_update({name: on_key.inserted[name] for name in others})
    else:
        insert = (sqlite if engine.dialect.name == "sqlite" else postgresql).insert(table)
        excluded = {name: insert.excluded[name] for name in others}
        statement = insert.on_conflict_do_update(index_elements=["snapshot_id"], set_=excluded)

    def write() -> None:
        with engine.begin() as connection:
            connection.execute(statement, [next(rows)])

    return write


def _snapshot(run_id: str) -> Snapshot:
    return Snapshot(
        captured_at=datetime.now(UTC),
        smspartner_conn_id="account",
        credit_sms=269082,
        credit_sms_low_cost=444570,
        credit_hlr=2045023,
        to_send=0,
        balance=Decimal("10225.119"),
        currency="EUR",
        dag_id="dag",
        task_id="task",
        run_id=run_id,
        map_index=-1,
        logical_date=None,
    )
