"""Pruning and exporting, by the statements of the docs: what is older goes or is copied, and what is newer stays."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from tests.analysts import PAGE, ask_translated, write
from tests.integration.conftest import Place, execute

DAY = datetime(2026, 10, 26, tzinfo=UTC)
ROWS = [
    (DAY - timedelta(days=400), "paris", "10"),
    (DAY - timedelta(days=1), "paris", "9.5"),
    (DAY + timedelta(hours=6), "paris", "9"),
    (DAY + timedelta(hours=7), "lyon", "1.25"),
]


def test_what_is_older_is_pruned_and_the_last_balances_stay(database: Engine) -> None:
    write(database, *ROWS)
    last = ask_translated(database, "last_balance")
    execute(database, (PAGE / "prune.sql").read_text().rstrip().rstrip(";"))
    name = "smspartner_credit_snapshots"
    assert execute(database, f"SELECT count(*) FROM {name}") == [(2,)]
    assert ask_translated(database, "last_balance") == last


@pytest.mark.parametrize("place", ["postgresql+psycopg2"], indirect=True)
def test_postgresql_exports_what_is_older(place: Place) -> None:
    engine = sa.create_engine(place.url)
    write(engine, *ROWS)
    copied = io.StringIO()
    connection = engine.raw_connection()
    connection.cursor().copy_expert((PAGE / "export_postgresql.sql").read_text(), copied)
    connection.close()
    engine.dispose()
    found = list(csv.DictReader(io.StringIO(copied.getvalue())))
    assert [row["balance"] for row in found] == ["10.000000", "9.500000"]


def test_duckdb_exports_what_is_older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    engine = sa.create_engine(f"duckdb:///{tmp_path}/credits.db")
    write(engine, *ROWS)
    execute(engine, (PAGE / "export_duckdb.sql").read_text().rstrip().rstrip(";"))
    found = execute(engine, "SELECT CAST(balance AS VARCHAR) FROM 'snapshots.parquet' ORDER BY captured_at")
    engine.dispose()
    assert found == [("10.000000",), ("9.500000",)]
