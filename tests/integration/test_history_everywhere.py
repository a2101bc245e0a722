"""The history of accounts, read from every database with and without the index: the same readings, and few rows."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from airflow_provider_smspartner.account import CreditType
from airflow_provider_smspartner.exceptions import SMSPartnerConfigurationError
from airflow_provider_smspartner.forecast import Reading
from airflow_provider_smspartner.sql.history import MOST_PARTS, read_history
from airflow_provider_smspartner.sql.snapshots import Snapshot, snapshot_table, write_snapshots
from tests.integration.conftest import Place, execute
from tests.integration.plans import rows_read

TABLE = snapshot_table("smspartner_credit_snapshots")
START, END = datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 7, 8, tzinfo=UTC)
ACCOUNTS = ["paris", "lyon", "l'été %"]


def snapshot(conn_id: str, at: datetime, balance: Decimal | None, number: int) -> Snapshot:
    sms = None if balance is None else int(balance / 2)
    of_run = ("dag", "task", f"run_{number}", -1, None)
    return Snapshot(at, conn_id, sms, None, None, None, balance, "EUR", *of_run)


@pytest.fixture
def taken() -> list[Snapshot]:
    """Return readings at random moments, some without a balance, some of one moment, some outside of the range."""
    chance = random.Random(7)
    moments = [START + chance.random() * (END - START) for _ in range(60)]
    moments += [START, END, START - timedelta(hours=1), END + timedelta(microseconds=1), moments[0], moments[1]]
    return [
        snapshot(conn_id, at, None if chance.random() < 0.1 else Decimal(chance.randrange(10**9)) / 10**3, number)
        for conn_id in [*ACCOUNTS, "of_nobody"]
        for number, at in enumerate(moments)
    ]


def expected(taken: list[Snapshot], conn_id: str, parts: int) -> list[Reading]:
    """Return the last known reading of each part, told by hand."""
    last: dict[int, Snapshot] = {}
    bounds = [START + number * (END - START) / parts for number in range(parts)] + [END]
    for row in sorted(taken, key=lambda row: (row.captured_at, row.snapshot_id)):
        if row.smspartner_conn_id == conn_id and row.balance is not None and START < row.captured_at <= END:
            last[next(number for number, bound in enumerate(bounds) if row.captured_at <= bound)] = row
    return [Reading(row.captured_at, row.balance or Decimal(0), row.currency) for _, row in sorted(last.items())]


@pytest.mark.parametrize("parts", [5, MOST_PARTS])
def test_the_last_known_reading_of_each_part_is_read(database: Engine, taken: list[Snapshot], parts: int) -> None:
    write_snapshots(database, TABLE, taken)
    for is_indexed in (True, False):
        if not is_indexed:
            drop_index(database)
        found = read_history(database, TABLE, [*ACCOUNTS, "unknown"], start=START, end=END, parts=parts)
        assert {conn_id: list(history.readings) for conn_id, history in found.items()} == {
            **{conn_id: expected(taken, conn_id, parts) for conn_id in ACCOUNTS},
            "unknown": [],
        }


def drop_index(engine: Engine) -> None:
    """Leave the table without its index, where it has one: by the scan the result must be the same."""
    if engine.dialect.name in {"sqlite", "postgresql"}:
        execute(engine, "DROP INDEX smspartner_credit_snapshots_history")
    elif engine.dialect.name in {"mysql", "mariadb"}:
        execute(engine, f"ALTER TABLE {TABLE.name} DROP INDEX smspartner_credit_snapshots_history")


def test_a_count_is_read_as_a_count_and_has_no_currency(database: Engine) -> None:
    write_snapshots(database, TABLE, [snapshot("paris", END, Decimal(7), 1)])
    found = read_history(database, TABLE, ["paris"], start=START, end=END, credit_type=CreditType.SMS)
    assert found["paris"].readings == [Reading(END, 3, None)]
    assert isinstance(found["paris"].readings[0].credit, int)


def test_amounts_in_another_currency_than_the_last_are_left_out(database: Engine) -> None:
    dollars = replace(snapshot("paris", START + timedelta(hours=1), Decimal(100), 1), currency="USD")
    write_snapshots(database, TABLE, [dollars, snapshot("paris", END, Decimal(7), 2)])
    found = read_history(database, TABLE, ["paris"], start=START, end=END)
    assert found["paris"].readings == [Reading(END, Decimal(7), "EUR")]


def test_a_table_that_is_not_there_is_told(database: Engine) -> None:
    with pytest.raises(SMSPartnerConfigurationError, match=r"is not there: let a CreditsToSqlOperator write"):
        read_history(database, TABLE, ["paris"], start=START, end=END)


LONG = f"""
INSERT INTO {TABLE.name} (
    snapshot_id, captured_at, smspartner_conn_id, balance, currency, dag_id, task_id, run_id, map_index
)
SELECT
    CAST(gen_random_uuid() AS TEXT), TIMESTAMPTZ '2026-07-08 00:00+00' - n / 10 * INTERVAL '1 minute',
    'smspartner_' || MOD(n, 10), n, 'EUR', 'dag', 'task', 'run_' || n, -1
FROM generate_series(1, 59999) AS series(n)
"""


@pytest.mark.parametrize("place", ["postgresql+psycopg2"], indirect=True)
def test_of_a_long_history_postgresql_reads_a_row_for_each_part(place: Place) -> None:
    engine = sa.create_engine(place.url)
    write_snapshots(engine, TABLE, [snapshot("paris", END, Decimal(7), 1)])
    execute(engine, LONG.replace(":", "\\:"), f"ANALYZE {TABLE.name}")
    accounts = [f"smspartner_{number}" for number in range(10)]
    asked: list[tuple[Any, Any]] = []
    sa.event.listen(engine, "before_cursor_execute", lambda *event: asked.append((event[2], event[3])))
    found = read_history(engine, TABLE, accounts, start=START, end=END, parts=42)
    read = rows_read(engine, *asked[-1])
    engine.dispose()
    assert sum(len(history.readings) for history in found.values()) == 10 * 25
    assert 0 < read <= 2 * 42 * 10
