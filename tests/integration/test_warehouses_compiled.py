"""What databases that no test can have would be asked: the statements, held to what their vendors document."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateTable

from airflow_provider_smspartner.sql.databases import database_of
from airflow_provider_smspartner.sql.snapshots import Snapshot, snapshot_table
from airflow_provider_smspartner.sql.tables import folded_table
from airflow_provider_smspartner.sql.types import fitted
from airflow_provider_smspartner.sql.upserts import UPSERTS, merge
from tests.databases import COMPILED_ONLY, CompiledDatabase

pytestmark = pytest.mark.warehouses

AT = datetime(2026, 7, 1, 12, 0, 0, 123456, tzinfo=UTC)
SNAPSHOT = Snapshot(AT, "paris", 5, None, None, 0, Decimal("1.000001"), "EUR", "dag", "task", "run_1", -1, None)


@pytest.fixture(params=COMPILED_ONLY, ids=lambda database: database.name)
def database(request: pytest.FixtureRequest) -> CompiledDatabase:
    pytest.importorskip(request.param.module)
    return request.param


@pytest.fixture
def dialect(database: CompiledDatabase) -> Dialect:
    return sa.engine.make_url(database.url).get_dialect()()


@pytest.fixture
def table(dialect: Dialect) -> sa.Table:
    return folded_table(snapshot_table("smspartner_credit_snapshots"), dialect)


def told(statement: object, dialect: Dialect) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sa.exc.SAWarning)  # Trino's, of the primary key that it does not know
        return re.sub(r"\s+", " ", str(statement.compile(dialect=dialect)))  # type: ignore[attr-defined]


def test_the_columns_have_the_types_that_keep_the_values(
    database: CompiledDatabase, dialect: Dialect, table: sa.Table
) -> None:
    created = told(CreateTable(table), dialect)
    types = {
        name: re.search(rf"\b{name}\W? ([A-Z0-9]+(?:\([^)]*\))?(?: WITH TIME ZONE)?)", created)
        for name in ("captured_at", "balance", "dag_id", "credit_sms")
    }
    assert [found and found[1] for found in types.values()] == list(database.types)


MERGING = [database for database in COMPILED_ONLY if database.merges]


@pytest.mark.parametrize("database", MERGING, indirect=True, ids=lambda database: database.name)
@pytest.mark.parametrize("keep", [False, True], ids=["replace", "keep"])
def test_a_merge_finds_the_row_by_its_key_and_says_what_becomes_of_it(
    database: CompiledDatabase, dialect: Dialect, table: sa.Table, keep: bool
) -> None:
    rows = [vars(SNAPSHOT), vars(replace(SNAPSHOT, run_id="run_2"))]
    statement = told(merge(table, rows, keep=keep), dialect)
    assert re.match(database.merges, statement), statement
    assert ("WHEN MATCHED THEN UPDATE SET" in statement) is not keep
    assert "WHEN NOT MATCHED THEN INSERT (" in statement
    assert statement.count("UNION ALL") == 1
    assert statement.endswith(";") is (dialect.name == "mssql")
    assert (" FROM DUAL" in statement) is (dialect.name == "oracle")
    # A key that is changed is refused by Oracle, and by nobody needed.
    assert not re.search(r"SET \W?snapshot_id", statement)


def test_a_statement_has_no_more_parameters_than_the_database_takes(
    database: CompiledDatabase, dialect: Dialect, table: sa.Table
) -> None:
    at_once = database_of(dialect.name).rows_at_once(len(table.columns))
    assert at_once == database.rows_at_once
    if at_once is not None:
        rows = [vars(replace(SNAPSHOT, run_id=f"run_{number}", credit_hlr=1)) for number in range(at_once)]
        parameters = merge(table, rows, keep=False).compile(dialect=dialect).params  # type: ignore[attr-defined]
        assert len(parameters) <= database.most_parameters


def test_a_text_of_letters_beyond_the_usual_fits_in_the_units_that_the_database_counts(
    database: CompiledDatabase, dialect: Dialect, table: sa.Table
) -> None:
    text = "🎉" * 250
    assert fitted(table.c.dag_id.type, text) == text
    length = getattr(table.c.dag_id.type.load_dialect_impl(dialect), "length", None)
    units = {"characters": 250, "pairs of bytes": len(text.encode("utf-16-le")) // 2, "bytes": len(text.encode())}
    assert length is not None
    assert length >= units[database.counts_in]


def test_each_has_a_statement_of_its_own() -> None:
    assert {sa.engine.make_url(database.url).get_backend_name() for database in COMPILED_ONLY} <= set(UPSERTS)
