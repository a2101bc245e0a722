"""The analysts' queries as the documentation has them: its history written, a query asked, and the promised result."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Engine

from airflow_provider_smspartner.account import Account, Credits, User
from airflow_provider_smspartner.sql.reservation_tables import ReservationTables
from airflow_provider_smspartner.sql.snapshots import Snapshot, TaskInstanceRef, snapshot_table, write_snapshots

PAGE = Path(__file__).parents[1] / "docs" / "analysts"
QUERIES = ["consumption_per_day", "days_left", "gaps", "last_balance", "top_ups"]
TABLE = snapshot_table("smspartner_credit_snapshots")

LEDGER = ReservationTables("smspartner_credit_reservations", None)
LEDGER_QUERIES = ["reserved", "waited"]
FOLDERS = {"mariadb": "mysql", "mysql": "mysql", "sqlite": "sqlite", "duckdb": "duckdb", "snowflake": "snowflake"}
FOLDERS |= {"bigquery": "bigquery", "clickhousedb": "clickhouse"}
"""By SQLAlchemy's name of a dialect: where the queries of its database are. PostgreSQL's are the page's own."""

_OF_POSTGRESQL = ("CURRENT_TIMESTAMP", "TIMESTAMP WITH TIME ZONE '{}+00:00'")
NOW = {
    "": _OF_POSTGRESQL,
    "mysql": ("UTC_TIMESTAMP()", "TIMESTAMP '{}'"),
    "sqlite": ("CURRENT_TIMESTAMP", "'{}'"),
    "duckdb": _OF_POSTGRESQL,
    "snowflake": ("CURRENT_TIMESTAMP()", "TO_TIMESTAMP_TZ('{} +0000')"),
    "bigquery": ("CURRENT_DATETIME('UTC')", "DATETIME '{}'"),
    "clickhouse": ("now('UTC')", "toDateTime('{}', 'UTC')"),
}
"""By the folder: the present moment, by which some queries go, and how another stands in for it."""
THE_PAGES_MOMENT = "2026-10-26 02:30:00"
OF_THE_LAST_30_DAYS = ("consumption_per_day", "gaps", "top_ups")

READERS: dict[type, Any] = {
    Decimal: Decimal,
    int: int,
    str: str,
    date: date.fromisoformat,
    datetime: datetime.fromisoformat,
    type(None): lambda cell: cell or None,
}
"""How a cell of a .csv reads as the type that the database returned. No float: money must not pass through one."""


def write(engine: Engine, *rows: tuple[datetime, str, str | None], currency: str | None = "EUR") -> None:
    """Write a snapshot a row: when, which account, what balance."""
    snapshots = [
        Snapshot.of(
            Account(User(None, None, None), Credits(1, None, None, 0, balance and Decimal(balance), currency), at),
            conn_id,
            TaskInstanceRef("history", "snapshot", f"run_{currency}_{number}"),
        )
        for number, (at, conn_id, balance) in enumerate(rows)
    ]
    write_snapshots(engine, TABLE, snapshots)


def write_example(engine: Engine) -> None:
    """Write the history that the page begins with."""
    for_each = [
        (datetime.fromisoformat(f"{row['captured_at (UTC)']}+00:00"), row["smspartner_conn_id"], row["balance"] or None)
        for row in _rows("history")
    ]
    write(engine, *for_each)


def write_reservations(engine: Engine) -> None:
    """Write the reservations that the page shows."""
    rows = [
        {
            "reservation_id": f"{row['dag_id']} {row['run_id']}",
            "epoch": int(row["epoch"]),
            "account_id": "paris",
            "account": "paris",
            "smspartner_conn_id": "smspartner_paris",
            "dag_id": row["dag_id"],
            "run_id": row["run_id"],
            "credit_type": "sms",
            "asked": Decimal(row["amount"]),
            "amount": Decimal(row["amount"]),
            "deducted": Decimal(row["deducted"]),
            "balance": Decimal(row["balance"]) if row["balance"] else None,
            "requested_version": number,
            "ended_how": row["ended_how"] or None,
            **{name: _utc(row[f"{name} (UTC)"]) for name in ("requested_at", "granted_at", "ended_at")},
        }
        for number, row in enumerate(_rows("reservations"))
    ]
    with engine.begin() as connection:
        connection.execute(LEDGER.reservations.insert(), rows)


def ask_the_ledger(engine: Engine, query: str) -> list[dict[str, Any]]:
    """Ask as the page says to on this database; a cell comes back as the page's type, however the driver returns it."""
    return [{name: _as_told(name, cell) for name, cell in row.items()} for row in ask(engine, query)]


def ask_translated(engine: Engine, query: str) -> list[dict[str, Any]]:
    """Ask at the moment at which the page does; a cell comes back as the type of the promised one."""
    return [{name: _as_promised(name, cell) for name, cell in row.items()} for row in ask_as_on_the_page(engine, query)]


def promised_everywhere(query: str) -> list[dict[str, Any]]:
    """Read what the page says that a query returns on any database."""
    return [{name: _as_promised(name, cell or None) for name, cell in row.items()} for row in _rows(query)]


def _as_promised(name: str, cell: Any) -> Any:
    if cell is None or name in {"smspartner_conn_id", "currency"}:
        return cell
    if name == "day_utc":
        return date.fromisoformat(str(cell)[:10])
    if name.endswith("_utc"):
        at = datetime.fromisoformat(cell) if isinstance(cell, str) else cell
        return at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo else at
    # SQLite reckons with floats.
    return Decimal(str(round(cell, 6) if isinstance(cell, float) else cell))


def promised_of_the_ledger(query: str) -> list[dict[str, Any]]:
    """Read what the page says that a query of the ledger returns."""
    return [{name: _as_told(name, cell or None) for name, cell in row.items()} for row in _rows(query)]


def _as_told(name: str, cell: Any) -> Any:
    if cell is None or name in {"smspartner_conn_id", "dag_id", "run_id", "credit_type", "ended"}:
        return cell
    if name.endswith("_at"):
        at = datetime.fromisoformat(cell) if isinstance(cell, str) else cell
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    return Decimal(str(cell))


def _utc(cell: str) -> datetime | None:
    return datetime.fromisoformat(f"{cell}+00:00") if cell else None


def execute_file(engine: Engine, name: str) -> None:
    """Run the statements of a file of the page, one after the other."""
    with engine.begin() as connection:
        for statement in filter(str.strip, (PAGE / f"{name}.sql").read_text().split(";")):
            connection.exec_driver_sql(statement)


def create_by_hand(engine: Engine) -> None:
    """Create the table as the page tells a warehouse team to."""
    execute_file(engine, "create_table")


def ask(engine: Engine, query: str, folder: str | None = None, **replaced: str) -> list[dict[str, Any]]:
    """
    Run a query's file as it is, but for the texts that are replaced: each must be there.

    :param folder: of another database's words than this one's
    """
    own = PAGE / FOLDERS.get(engine.dialect.name, "") if folder is None else PAGE / folder
    sql = (own if query != "reserved" else PAGE).joinpath(f"{query}.sql").read_text()
    for old, new in replaced.items():
        assert old in sql
        sql = sql.replace(old, new)
    with engine.connect() as connection:
        # Else some drivers take a percent sign for a parameter.
        result = connection.execution_options(no_parameters=True).exec_driver_sql(sql)
        return [dict(row) for row in result.mappings()]


def ask_as_on_the_page(engine: Engine, query: str, folder: str | None = None, **replaced: str) -> list[dict[str, Any]]:
    """Ask at the moment at which the page does."""
    now, then = NOW[FOLDERS.get(engine.dialect.name, "")]
    moment = {now: then.format(THE_PAGES_MOMENT)} if query in OF_THE_LAST_30_DAYS else {}
    return ask(engine, query, folder, **moment, **replaced)


def promised(query: str, result: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Read what the page says the result is, in the types of the result."""
    rows = _rows(query)
    assert len(rows) == len(result)
    return [{name: READERS[type(got[name])](row[name]) for name in row} for row, got in zip(rows, result, strict=True)]


def _rows(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((PAGE / f"{name}.csv").read_text().splitlines()))
