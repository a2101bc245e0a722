"""The index of the snapshot table: made with a new table, needed by no write, and what queries read by."""

from __future__ import annotations

import logging
import multiprocessing
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine

from airflow_provider_smspartner.sql.snapshots import Snapshot, snapshot_table, write_snapshots
from tests.analysts import PAGE, execute_file
from tests.integration.conftest import Place, make_place, reach
from tests.integration.plans import rows_read

TABLE = snapshot_table("smspartner_credit_snapshots")
COLUMNS = ["smspartner_conn_id", "captured_at"]
SNAPSHOT = Snapshot(
    captured_at=datetime(2026, 7, 1, 12, tzinfo=UTC),
    smspartner_conn_id="smspartner_default",
    credit_sms=5,
    credit_sms_low_cost=None,
    credit_hlr=None,
    to_send=0,
    balance=Decimal("1.5"),
    currency="EUR",
    dag_id="dag",
    task_id="task",
    run_id="manual__1",
    map_index=-1,
    logical_date=None,
)


@pytest.fixture(params=["sqlite", "postgresql+psycopg2", "mariadb+pymysql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "sqlite":
        yield sa.create_engine(f"sqlite:///{tmp_path}/credits.db")
    else:
        with make_place(reach(request, request.param), request.param) as place:
            engine = sa.create_engine(place.url)
            yield engine
            engine.dispose()


def indexed(engine: Engine, table: sa.Table = TABLE) -> list[list[str | None]]:
    return [index["column_names"] for index in sa.inspect(engine).get_indexes(table.name)]


def execute(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def count(engine: Engine, table: sa.Table = TABLE) -> int:
    with engine.connect() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def test_a_new_table_gets_it_and_one_that_is_there_is_left_alone(engine: Engine) -> None:
    write_snapshots(engine, TABLE, [SNAPSHOT])
    assert indexed(engine) == [COLUMNS]
    (name,) = [index["name"] for index in sa.inspect(engine).get_indexes(TABLE.name)]
    execute(engine, f"DROP INDEX {name}" + (f" ON {TABLE.name}" if engine.dialect.name in {"mysql", "mariadb"} else ""))
    write_snapshots(engine, TABLE, [SNAPSHOT])
    assert (indexed(engine), count(engine)) == ([], 1)


def test_it_is_the_one_of_the_statement_in_the_docs(engine: Engine) -> None:
    TABLE.create(engine)
    assert indexed(engine) == []
    execute_file(engine, "create_index")
    by_hand = sa.inspect(engine).get_indexes(TABLE.name)
    TABLE.drop(engine)
    write_snapshots(engine, TABLE, [SNAPSHOT])
    assert sa.inspect(engine).get_indexes(TABLE.name) == by_hand


@pytest.mark.parametrize("name", ["x" * 63, "lateral", "Mixed Case", "a`b\"c'd"])
def test_any_name_of_a_table_gives_one_for_its_index(engine: Engine, name: str) -> None:
    table = snapshot_table(name)
    write_snapshots(engine, table, [SNAPSHOT])
    assert indexed(engine, table) == [COLUMNS]


def test_a_database_that_refuses_it_gets_its_rows(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "airflow_provider_smspartner")
    table = snapshot_table("credits")
    if engine.dialect.name in {"mysql", "mariadb"}:
        # As on a server with older defaults, whose keys have 767 bytes at most.
        sa.event.listen(engine, "before_cursor_execute", make_compact, retval=True)
    else:
        execute(engine, "CREATE TABLE credits_history (taken INTEGER)")
    for run_id in ("manual__1", "manual__2"):
        write_snapshots(engine, table, [SNAPSHOT, Snapshot(**(fields_of(SNAPSHOT) | {"run_id": run_id}))])
    assert (indexed(engine, table), count(engine, table)) == ([], 2)
    (line,) = [record.getMessage() for record in caplog.records if "without an index" in record.getMessage()]
    assert line.startswith("table 'credits': written without an index, which the database refuses: ")


def make_compact(*event: Any) -> tuple[str, Any]:
    return event[2].replace("CHARSET=utf8mb4", "CHARSET=utf8mb4 ROW_FORMAT=COMPACT"), event[3]


def fields_of(snapshot: Snapshot) -> dict[str, Any]:
    return {name: value for name, value in vars(snapshot).items() if name != "snapshot_id"}


@pytest.mark.parametrize("place", ["mariadb+pymysql"], indirect=True)
def test_a_login_without_the_right_to_it_gets_its_rows(place: Place) -> None:
    name, password = f"guest_{secrets.token_hex(4)}", secrets.token_hex(8)
    grantee = f"'{name}'@'{place.url.host}'"
    place.execute(
        f"CREATE USER {grantee} IDENTIFIED BY '{password}'",
        f"GRANT SELECT, INSERT, UPDATE, CREATE ON {place.name}.* TO {grantee}",
    )
    engine = sa.create_engine(place.url.set(username=name, password=password))
    write_snapshots(engine, TABLE, [SNAPSHOT])
    assert (indexed(engine), count(engine)) == ([], 1)
    engine.dispose()
    place.execute(f"DROP USER {grantee}")


def create_and_write(url: URL, number: int) -> None:
    engine = sa.create_engine(url)
    write_snapshots(engine, TABLE, [Snapshot(**(fields_of(SNAPSHOT) | {"run_id": f"manual__{number}"}))])
    engine.dispose()


def test_who_creates_the_table_at_once_leaves_one_index_and_every_row(engine: Engine) -> None:
    for _ in range(3):
        engine.dispose()
        context = multiprocessing.get_context("fork")
        writers = [context.Process(target=create_and_write, args=(engine.url, number)) for number in range(8)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(60)
        assert [writer.exitcode for writer in writers] == [0] * 8
        assert (indexed(engine), count(engine)) == ([COLUMNS], 8)
        TABLE.drop(engine)


def test_duckdb_whose_upsert_may_not_change_an_indexed_column_gets_none(tmp_path: Path) -> None:
    engine = sa.create_engine(f"duckdb:///{tmp_path}/credits.db")
    for _ in range(2):
        write_snapshots(engine, TABLE, [SNAPSHOT])
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM duckdb_indexes()").scalar_one() == 0
    engine.dispose()


HISTORY = f"""
INSERT INTO {TABLE.name} (
    snapshot_id, captured_at, smspartner_conn_id, balance, currency, dag_id, task_id, run_id, map_index
)
SELECT
    CAST(gen_random_uuid() AS TEXT),
    TIMESTAMPTZ '2026-01-01 00:00+00' + n / 10 * INTERVAL '1 hour',
    'smspartner_' || MOD(n, 10),
    CASE WHEN MOD(n, 7) = 0 THEN NULL ELSE 50000 - n / 10 END,
    'EUR', 'dag', 'task', 'run_' || n, -1
FROM generate_series(1, 30000) AS series(n)
"""


@pytest.mark.parametrize("place", ["postgresql+psycopg2"], indirect=True)
@pytest.mark.parametrize(("query", "most"), [("last_balance", 100), ("days_left", 10 * (168 + 10))])
def test_of_a_long_history_postgresql_reads_what_a_query_needs(place: Place, query: str, most: int) -> None:
    engine = sa.create_engine(place.url)
    write_snapshots(engine, TABLE, [SNAPSHOT])
    execute(engine, f"TRUNCATE {TABLE.name}", HISTORY, f"ANALYZE {TABLE.name}")
    read = rows_read(engine, (PAGE / f"{query}.sql").read_text())
    engine.dispose()
    assert 0 < read <= most
