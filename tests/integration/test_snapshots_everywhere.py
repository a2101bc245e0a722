"""What the snapshot table promises, on every database with each of its drivers; the terminal shows it as a table."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from airflow_provider_smspartner.account import Account, Credits, User
from airflow_provider_smspartner.sql.snapshots import Snapshot, TaskInstanceRef, snapshot_table, write_snapshots
from airflow_provider_smspartner.sql.tables import folded_table
from tests.integration.writers import check_side_by_side, write_side_by_side

TABLE = snapshot_table("smspartner_credit_snapshots")
SNAPSHOT = Snapshot.of(
    Account(User(None, None, None), Credits(5, 6, 7, 0, Decimal("10225.119"), "EUR"), datetime(2026, 7, 1, tzinfo=UTC)),
    "smspartner_default",
    TaskInstanceRef("campaign", "snapshot", "manual__1"),
)


def stored(engine: Engine) -> list[dict[str, Any]]:
    table = folded_table(TABLE, engine.dialect)
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(sa.select(table).order_by(table.c.run_id)).mappings()]


@pytest.mark.shows("created")
def test_the_table_is_made_with_its_key_and_found_without_quotes(database: Engine) -> None:
    write_snapshots(database, TABLE, [SNAPSHOT])
    write_snapshots(database, TABLE, [SNAPSHOT], create_table=False)
    names = " ".join(f"AND {column} IS NOT NULL" for column in vars(SNAPSHOT) if getattr(SNAPSHOT, column) is not None)
    query = f"SELECT snapshot_id, dag_id FROM smspartner_credit_snapshots WHERE logical_date IS NULL {names}"
    with database.connect() as connection:
        assert list(connection.execute(sa.text(query))) == [(SNAPSHOT.snapshot_id, "campaign")]


@pytest.mark.shows("upserted")
def test_a_re_run_replaces_its_rows_and_another_run_adds_its_own(database: Engine) -> None:
    for sms in (1, 2):
        accounts = [replace(SNAPSHOT, smspartner_conn_id=f"shop_{n}", credit_sms=sms) for n in range(3)]
        write_snapshots(database, TABLE, accounts)
    write_snapshots(database, TABLE, [accounts[0], replace(accounts[0], run_id="manual__2", credit_sms=None)])
    rows = sorted((row["run_id"], row["smspartner_conn_id"], row["credit_sms"]) for row in stored(database))
    assert rows == [
        ("manual__1", "shop_0", 2),
        ("manual__1", "shop_1", 2),
        ("manual__1", "shop_2", 2),
        ("manual__2", "shop_0", None),
    ]


@pytest.mark.shows("kept")
def test_a_row_that_is_kept_comes_back_as_the_first_run_wrote_it(database: Engine) -> None:
    first = [replace(SNAPSHOT, smspartner_conn_id=f"shop_{n}", balance=Decimal("0.1")) for n in range(2)]
    assert write_snapshots(database, TABLE, first, keep=True) == first
    again = [replace(row, credit_sms=99, balance=None, username="anna@example.com") for row in first]
    new = replace(SNAPSHOT, smspartner_conn_id="shop_2", credit_sms=None)
    assert write_snapshots(database, TABLE, [again[1], new, again[0]], keep=True) == [first[1], new, first[0]]
    assert write_snapshots(database, TABLE, [*again, new], keep=True) == [*first, new]
    rows = sorted(stored(database), key=lambda row: row["smspartner_conn_id"])
    assert rows == [vars(row) for row in (*first, new)]


@pytest.mark.shows("exact")
def test_every_value_comes_back_as_it_was(database: Engine) -> None:
    values: list[dict[str, Any]] = [
        {"balance": Decimal("123456789012.123456"), "credit_sms": 2**63 - 1, "credit_hlr": -(2**63)},
        {"balance": Decimal("-999999999999.999999"), "credit_sms": 0, "to_send": None, "map_index": 2**31 - 1},
        {"balance": Decimal(0), "username": "anna@example.com"},
        {"balance": None, "currency": None, "credit_sms_low_cost": None},
        {"dag_id": "été 🎉 ' \" % %s :x \\ "},
    ]
    written = [replace(SNAPSHOT, run_id=f"manual__{n}", **value) for n, value in enumerate(values)]
    for _ in range(2):
        write_snapshots(database, TABLE, written)
    assert stored(database) == [vars(snapshot) for snapshot in written]


@pytest.mark.shows("UTC")
def test_an_instant_comes_back_in_utc_to_the_microsecond(database: Engine) -> None:
    east, west = timezone(timedelta(hours=5, minutes=45)), timezone(-timedelta(hours=11))
    instants = [
        datetime(2026, 3, 29, 2, 30, 0, 1, tzinfo=east),
        datetime(2026, 1, 1, 1, 30, tzinfo=west),
        datetime(2026, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    ]
    snapshots = [
        replace(SNAPSHOT, run_id=f"manual__{n}", captured_at=instant, logical_date=instant if n else None)
        for n, instant in enumerate(instants)
    ]
    for _ in range(2):
        write_snapshots(database, TABLE, snapshots)
    rows = stored(database)
    assert [row["captured_at"] for row in rows] == instants
    assert [row["logical_date"] for row in rows] == [None, *instants[1:]]
    assert {row["captured_at"].tzinfo for row in rows} == {UTC}


@pytest.mark.parametrize("keep", [False, True], ids=["replace", "keep"])
@pytest.mark.shows("concurrent")
def test_many_processes_make_one_table_and_no_duplicates(database: Engine, keep: bool) -> None:
    if database.dialect.name == "snowflake":
        pytest.skip("fakesnow's database lives in one process")
    writers_count = 4 if database.dialect.name == "duckdb" else 16  # DuckDB lets in one process at a time
    database.dispose()
    write_side_by_side(database.url, TABLE, SNAPSHOT, writers_count, keep=keep)
    check_side_by_side(stored(database), writers_count, keep=keep)
