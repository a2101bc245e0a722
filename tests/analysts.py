"""The analysts' queries as the documentation has them: its history written, a query asked, and the promised result."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Engine

from airflow_provider_smspartner.account import Account, Credits, User
from airflow_provider_smspartner.sql.snapshots import Snapshot, TaskInstanceRef, snapshot_table, write_snapshots

PAGE = Path(__file__).parents[1] / "docs" / "analysts"
QUERIES = ["consumption_per_day", "days_left", "gaps", "last_balance", "top_ups"]
TABLE = snapshot_table("smspartner_credit_snapshots")

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


def create_by_hand(engine: Engine) -> None:
    """Create the table as the page tells a warehouse team to."""
    with engine.begin() as connection:
        connection.exec_driver_sql((PAGE / "create_table.sql").read_text())


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
