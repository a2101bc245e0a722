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
SECONDS_WAITED = {
    "postgresql": "EXTRACT(EPOCH FROM granted_at - requested_at)",
    "mysql": "TIMESTAMPDIFF(SECOND, requested_at, granted_at)",
    "mariadb": "TIMESTAMPDIFF(SECOND, requested_at, granted_at)",
    "sqlite": "86400 * (JULIANDAY(granted_at) - JULIANDAY(requested_at))",
}
"""What the page says to write on each database."""

THE_PAGES_NOW = {"CURRENT_TIMESTAMP": "TIMESTAMP WITH TIME ZONE '2026-10-26 02:30:00+00:00'"}
"""What stands in for the present moment, by which the gaps go."""

READERS: dict[type, Any] = {
    Decimal: Decimal,
    int: int,
    str: str,
    date: date.fromisoformat,
    datetime: datetime.fromisoformat,
    type(None): lambda cell: cell or None,
}
"""How a cell of a .csv reads as the type that the database returned. No float: money must not pass through one."""


def write(engine: Engine, *rows: tuple[datetime, str, str | None]) -> None:
    """Write a snapshot a row: when, which account, what balance."""
    snapshots = [
        Snapshot.of(
            Account(User(None, None, None), Credits(1, None, None, 0, balance and Decimal(balance), "EUR"), at),
            conn_id,
            TaskInstanceRef("history", "snapshot", f"run_{number}"),
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
    replaced = {SECONDS_WAITED["postgresql"]: SECONDS_WAITED[engine.dialect.name]} if query == "waited" else {}
    return [{name: _as_told(name, cell) for name, cell in row.items()} for row in ask(engine, query, **replaced)]


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


def ask(engine: Engine, query: str, **replaced: str) -> list[dict[str, Any]]:
    """Run a query's file as it is, but for the texts that are replaced: each must be there."""
    sql = (PAGE / f"{query}.sql").read_text()
    for old, new in replaced.items():
        assert old in sql
        sql = sql.replace(old, new)
    with engine.connect() as connection:
        return [dict(row) for row in connection.exec_driver_sql(sql).mappings()]


def ask_as_on_the_page(engine: Engine, query: str) -> list[dict[str, Any]]:
    """Ask at the moment at which the page does."""
    return ask(engine, query, **(THE_PAGES_NOW if query == "gaps" else {}))


def promised(query: str, result: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Read what the page says the result is, in the types of the result."""
    rows = _rows(query)
    assert len(rows) == len(result)
    return [{name: READERS[type(got[name])](row[name]) for name in row} for row, got in zip(rows, result, strict=True)]


def _rows(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((PAGE / f"{name}.csv").read_text().splitlines()))
