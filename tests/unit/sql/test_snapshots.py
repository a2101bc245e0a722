"""The snapshot table on databases that are a file: SQLite and DuckDB."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from airflow_provider_smspartner.account import Account, Credits, User
from airflow_provider_smspartner.exceptions import (
    SMSPartnerConfigurationError,
    SMSPartnerError,
    SMSPartnerResponseError,
)
from airflow_provider_smspartner.sql import snapshots
from airflow_provider_smspartner.sql.snapshots import Snapshot, TaskInstanceRef, snapshot_table, write_snapshots
from airflow_provider_smspartner.sql.upserts import upsert_portably

NOON = datetime(2026, 7, 1, 12, 0, 0, 123456, tzinfo=UTC)
ORIGIN = TaskInstanceRef("campaign", "snapshot", "manual__1", logical_date=NOON)
ACCOUNT = Account(
    user=User("anna@example.com", "Anna", "Lund"),
    credits=Credits(269082, 444570, 2045023, 0, Decimal("10225.119"), "EUR"),
    fetched_at=NOON,
)
SNAPSHOT = Snapshot.of(ACCOUNT, "smspartner_default", ORIGIN)


@pytest.fixture(params=["sqlite", "duckdb"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    engine = sa.create_engine(f"{request.param}:///{tmp_path}/credits.db")
    yield engine
    engine.dispose()


@pytest.fixture(params=["sqlite", "duckdb"], scope="module")
def kept_engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One database for all tests that look at their own row alone."""
    engine = sa.create_engine(f"{request.param}:///{tmp_path_factory.mktemp('kept')}/credits.db")
    yield engine
    engine.dispose()


@pytest.fixture
def sqlite_engine(tmp_path: Path) -> Iterator[Engine]:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/credits.db")
    yield engine
    engine.dispose()


@pytest.fixture
def portable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every database one without an upsert."""
    monkeypatch.setattr(snapshots, "UPSERTS", {})


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Hold the waits between attempts, instead of waiting."""
    naps: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", naps.append)
    return naps


def stored(engine: Engine, table: sa.Table) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        rows = connection.execute(sa.select(table).order_by(table.c.run_id, table.c.smspartner_conn_id)).mappings()
        return [dict(row) for row in rows]


def execute(engine: Engine, *statements: str) -> list[Any]:
    with engine.begin() as connection:
        results = [connection.execute(sa.text(statement)) for statement in statements]
        return list(results[-1]) if results[-1].returns_rows else []


def statements_of(engine: Engine) -> list[str]:
    seen: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", lambda *event: seen.append(event[2]))
    return seen


# One row a task instance and account


@pytest.mark.parametrize("path", ["native", "portable"])
def test_a_rerun_replaces_its_row_and_another_run_adds_one(
    engine: Engine, path: str, request: pytest.FixtureRequest
) -> None:
    if path == "portable":
        request.getfixturevalue("portable")
    table = snapshot_table("credits")
    for sms in (1, 2, 3):
        write_snapshots(engine, table, [replace(SNAPSHOT, credit_sms=sms)])
    assert [row["credit_sms"] for row in stored(engine, table)] == [3]

    write_snapshots(
        engine, table, [replace(SNAPSHOT, run_id=run_id) for run_id in ("manual__1", "manual__2", "manual__3")]
    )
    assert [row["run_id"] for row in stored(engine, table)] == ["manual__1", "manual__2", "manual__3"]


def test_many_rows_are_one_statement_and_one_transaction(sqlite_engine: Engine) -> None:
    table = snapshot_table("credits")
    write_snapshots(sqlite_engine, table, [SNAPSHOT])
    inserts, commits = statements_of(sqlite_engine), []
    sa.event.listen(sqlite_engine, "commit", commits.append)
    write_snapshots(sqlite_engine, table, [replace(SNAPSHOT, smspartner_conn_id=f"shop_{n}") for n in range(200)])
    assert len([statement for statement in inserts if statement.startswith("INSERT")]) == 1
    assert len(commits) == 1
    assert len(stored(sqlite_engine, table)) == 201


def test_rows_are_written_in_the_order_of_their_key_so_that_crossing_writers_do_not_deadlock(
    sqlite_engine: Engine,
) -> None:
    table = snapshot_table("credits")
    write_snapshots(sqlite_engine, table, [SNAPSHOT])
    orders: list[list[str]] = []

    def note_order(*event: Any) -> None:
        if not event[2].startswith("INSERT"):
            return
        flat = [value for row in event[3] for value in (row if isinstance(row, tuple) else [row])]
        orders.append([value for value in flat if value in ids])

    many = [replace(SNAPSHOT, smspartner_conn_id=f"shop_{n}") for n in range(9)]
    ids = [snapshot.snapshot_id for snapshot in many]
    sa.event.listen(sqlite_engine, "before_cursor_execute", note_order)
    for order in (many, many[::-1]):
        write_snapshots(sqlite_engine, table, order)
    assert [order for order in orders if order] == [sorted(ids)] * 2


def test_of_two_snapshots_with_one_key_the_last_wins(engine: Engine) -> None:
    table = snapshot_table("credits")
    write_snapshots(engine, table, [SNAPSHOT, replace(SNAPSHOT, credit_sms=7)])
    assert [row["credit_sms"] for row in stored(engine, table)] == [7]


def test_no_snapshots_touch_no_database(sqlite_engine: Engine) -> None:
    statements = statements_of(sqlite_engine)
    write_snapshots(sqlite_engine, snapshot_table("credits"), [])
    assert statements == []


def test_the_id_stays_what_it_was_in_earlier_releases() -> None:
    assert SNAPSHOT.snapshot_id == "c5b8c281-0de7-5235-a3b5-d2f84fdd3290"


def test_the_id_tells_apart_what_joined_text_would_not() -> None:
    one = replace(SNAPSHOT, dag_id="a.b", task_id="c")
    other = replace(SNAPSHOT, dag_id="a", task_id="b.c")
    assert one.snapshot_id != other.snapshot_id


def test_the_id_depends_on_the_origin_and_not_on_the_reading() -> None:
    assert replace(SNAPSHOT, credit_sms=0, logical_date=None, username="x").snapshot_id == SNAPSHOT.snapshot_id
    for change in ({"smspartner_conn_id": "b"}, {"dag_id": "b"}, {"task_id": "b"}, {"run_id": "b"}, {"map_index": 0}):
        assert replace(SNAPSHOT, **change).snapshot_id != SNAPSHOT.snapshot_id


# Values, exactly

EAST = timezone(timedelta(hours=5, minutes=45))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("balance", Decimal("123456789012.123456")),
        ("balance", Decimal("999999999999.999999")),
        ("balance", Decimal("-0.000001")),
        ("balance", Decimal("-10225.119")),
        ("balance", Decimal(0)),
        ("balance", Decimal("1E+3")),
        ("balance", Decimal("1.10000000")),
        ("balance", None),
        ("credit_sms", 2**63 - 1),
        ("credit_sms_low_cost", -(2**63)),
        ("credit_hlr", 0),
        ("to_send", None),
        ("currency", None),
        ("map_index", -1),
        ("map_index", 2**31 - 1),
        ("run_id", "manual__2026-07-01T12:00:00+00:00 ✓ é 🎉 ' \" % :x \\"),
        ("captured_at", datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC)),
        ("captured_at", datetime(2026, 1, 1, 1, 30, 0, 999999, tzinfo=EAST)),
        ("captured_at", datetime(2026, 1, 1, 1, 30, tzinfo=timezone(-timedelta(hours=11)))),
        ("logical_date", None),
        ("username", "anna@example.com"),
        ("username", "\ud7ff\ue000"),  # beside the halves of characters
    ],
)
def test_a_value_comes_back_as_it_was(kept_engine: Engine, column: str, value: object) -> None:
    table, snapshot = snapshot_table("credits"), replace(SNAPSHOT, **{column: value})
    write_snapshots(kept_engine, table, [snapshot])
    [row] = [row for row in stored(kept_engine, table) if row["snapshot_id"] == snapshot.snapshot_id]
    assert row[column] == value
    assert type(row[column]) is type(value)
    if isinstance(value, datetime):
        assert row[column].tzinfo is UTC


def test_a_row_is_the_snapshot_column_by_column(engine: Engine) -> None:
    table = snapshot_table("credits")
    write_snapshots(engine, table, [SNAPSHOT])
    assert [column.name for column in table.columns] == [column.name for column in fields(Snapshot)]
    assert stored(engine, table) == [vars(SNAPSHOT)]


def test_sqlite_holds_the_balance_as_text_and_the_instant_in_utc(sqlite_engine: Engine) -> None:
    table = snapshot_table("credits")
    write_snapshots(sqlite_engine, table, [replace(SNAPSHOT, captured_at=NOON.astimezone(EAST))])
    assert execute(sqlite_engine, "SELECT balance, captured_at FROM credits") == [
        ("10225.119000", "2026-07-01 12:00:00.123456")
    ]


def test_a_subclass_of_datetime_is_stored_as_a_plain_one() -> None:
    class Pendulum(datetime):
        pass

    snapshot = replace(SNAPSHOT, logical_date=Pendulum(2026, 7, 1, 14, 0, 0, 5, tzinfo=timezone(timedelta(hours=2))))
    assert type(snapshot.logical_date) is datetime
    assert snapshot.logical_date == datetime(2026, 7, 1, 12, 0, 0, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("balance", Decimal("0.0000001")),
        ("balance", Decimal(10**12)),
        ("balance", Decimal("1E+999999")),
        ("balance", Decimal("1E-999999")),
        ("balance", Decimal("NaN")),
        ("balance", Decimal("-Infinity")),
        ("credit_sms", 2**63),
        ("credit_sms_low_cost", -(2**63) - 1),
        ("credit_hlr", 10**30),
        ("to_send", 2**63),
        ("currency", "EURO"),
        ("currency", "E\0R"),
        ("username", "x" * 321),
        ("username", "\ud800"),
        ("username", "\udfff"),  # noqa: PT014  # ruff takes the two for one
        ("captured_at", datetime(2026, 7, 1)),  # noqa: DTZ001 - that it has no zone is the point
        ("captured_at", datetime.max.replace(tzinfo=timezone(-timedelta(hours=1)))),
        ("captured_at", None),
    ],
)
def test_a_reading_that_does_not_fit_is_refused_by_name_and_may_be_retried(column: str, value: object) -> None:
    with pytest.raises(SMSPartnerResponseError, match=f"'smspartner_default'.*'{column}' does not fit") as caught:
        replace(SNAPSHOT, **{column: value})
    assert caught.value.retryable
    assert value is None or str(value) not in str(caught.value)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("smspartner_conn_id", "c" * 251),
        ("dag_id", "d" * 251),
        ("task_id", "t" * 251),
        ("run_id", "r" * 251),
        ("run_id", None),
        ("map_index", 2**31),
        ("logical_date", datetime(2026, 7, 1)),  # noqa: DTZ001 - that it has no zone is the point
    ],
)
def test_an_origin_that_does_not_fit_is_refused_by_name_and_for_good(column: str, value: object) -> None:
    with pytest.raises(SMSPartnerConfigurationError, match=f"'{column}' does not fit"):
        replace(SNAPSHOT, **{column: value})


def test_the_username_stays_out_unless_asked_for(engine: Engine) -> None:
    table = snapshot_table("credits")
    write_snapshots(engine, table, [SNAPSHOT])
    assert stored(engine, table)[0]["username"] is None
    assert "username" not in SNAPSHOT.as_xcom()

    asked = Snapshot.of(ACCOUNT, "smspartner_default", ORIGIN, store_username=True)
    write_snapshots(engine, table, [asked])
    assert stored(engine, table)[0]["username"] == "anna@example.com"
    assert asked.as_xcom()["username"] == "anna@example.com"
    assert "anna" not in repr(asked)


def test_the_xcom_is_json_with_exact_figures() -> None:
    assert json.loads(json.dumps(SNAPSHOT.as_xcom())) == {
        "snapshot_id": SNAPSHOT.snapshot_id,
        "captured_at": "2026-07-01T12:00:00.123456+00:00",
        "smspartner_conn_id": "smspartner_default",
        "credit_sms": 269082,
        "credit_sms_low_cost": 444570,
        "credit_hlr": 2045023,
        "to_send": 0,
        "balance": "10225.119",
        "currency": "EUR",
        "dag_id": "campaign",
        "task_id": "snapshot",
        "run_id": "manual__1",
        "map_index": -1,
        "logical_date": "2026-07-01T12:00:00.123456+00:00",
    }
    assert replace(SNAPSHOT, balance=Decimal("1E+3")).as_xcom()["balance"] == "1000"
    assert replace(SNAPSHOT, balance=None, logical_date=None).as_xcom() == SNAPSHOT.as_xcom() | {
        "balance": None,
        "logical_date": None,
    }


# Names


@pytest.mark.parametrize(
    "name",
    ["select", "returning", "Order", "Mixed Case", "credits; DROP TABLE x", 'a"b', "été", "50% off", ":name", "a(b)"],
)
def test_any_name_is_quoted(kept_engine: Engine, name: str) -> None:
    table = snapshot_table(name)
    for sms in (1, 2):
        write_snapshots(kept_engine, table, [replace(SNAPSHOT, credit_sms=sms)])
    assert [row["credit_sms"] for row in stored(kept_engine, table)] == [2]
    assert name in sa.inspect(kept_engine).get_table_names()


def test_a_schema_is_quoted_too(tmp_path: Path, engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        sa.event.listen(
            engine,
            "connect",
            lambda connection, _: connection.execute(f"ATTACH '{tmp_path}/other.db' AS \"Select From\""),
        )
    else:
        execute(engine, 'CREATE SCHEMA "Select From"')
    table = snapshot_table("group", schema="Select From")
    write_snapshots(engine, table, [SNAPSHOT])
    assert stored(engine, table) == [vars(SNAPSHOT)]
    assert execute(engine, 'SELECT count(*) FROM "Select From"."group"') == [(1,)]


def test_a_dot_in_the_name_points_to_the_schema_parameter() -> None:
    with pytest.raises(SMSPartnerConfigurationError, match=r"use schema='analytics' and table='credits'"):
        snapshot_table("analytics.credits")


@pytest.mark.parametrize(
    ("name", "schema", "named"), [("", None, "table"), (" ", None, "table"), ("credits", "", "schema")]
)
def test_an_empty_name_is_refused(name: str, schema: str | None, named: str) -> None:
    with pytest.raises(SMSPartnerConfigurationError, match=f"^{named} is '"):
        snapshot_table(name, schema)


# Tables that are there, or are not


def test_without_create_table_a_missing_table_is_an_error_and_no_ddl_is_issued(engine: Engine) -> None:
    statements = statements_of(engine)
    with pytest.raises(
        SMSPartnerConfigurationError, match="table 'credits': it is not there, and create_table is False"
    ):
        write_snapshots(engine, snapshot_table("credits"), [SNAPSHOT], create_table=False)
    write_snapshots(engine, snapshot_table("credits"), [SNAPSHOT])
    created = [statement for statement in statements if "CREATE TABLE" in statement]
    assert len(created) == 1

    del statements[:]
    for create_table in (True, False):
        write_snapshots(engine, snapshot_table("credits"), [SNAPSHOT], create_table=create_table)
    assert not [statement for statement in statements if "CREATE" in statement or "ALTER" in statement]


@pytest.mark.parametrize("create_table", [True, False])
def test_every_missing_column_is_named_with_its_type(engine: Engine, create_table: bool) -> None:
    execute(
        engine, "CREATE TABLE credits (snapshot_id CHAR(36) PRIMARY KEY, Captured_At TIMESTAMP, run_id VARCHAR(250))"
    )
    with pytest.raises(SMSPartnerConfigurationError) as caught:
        write_snapshots(engine, snapshot_table("credits"), [SNAPSHOT], create_table=create_table)
    text = str(caught.value)
    assert "table 'credits': it lacks" in text
    for column in fields(Snapshot):
        there = column.name in ("snapshot_id", "captured_at", "run_id")
        assert (column.name in text) is not there
    assert "currency VARCHAR(3)" in text
    assert execute(engine, "SELECT count(*) FROM credits") == [(0,)]


def test_columns_that_a_warehouse_team_added_are_left_alone(engine: Engine) -> None:
    table = snapshot_table("credits")
    write_snapshots(engine, table, [SNAPSHOT])
    execute(engine, "ALTER TABLE credits ADD COLUMN region VARCHAR(10)", "UPDATE credits SET region = 'north'")
    write_snapshots(engine, table, [replace(SNAPSHOT, credit_sms=5), replace(SNAPSHOT, run_id="manual__2")])
    assert execute(engine, "SELECT run_id, credit_sms, region FROM credits ORDER BY run_id") == [
        ("manual__1", 5, "north"),
        ("manual__2", 269082, None),
    ]


@pytest.mark.parametrize(("engine", "kind"), [("sqlite", "REAL"), ("duckdb", "DECIMAL(18, 2)")], indirect=["engine"])
def test_a_table_whose_types_would_round_is_refused_and_nothing_is_written(engine: Engine, kind: str) -> None:
    columns = [
        f"{column.name} {kind if column.name == 'balance' else column.type.compile(dialect=engine.dialect)}"
        for column in snapshot_table("credits").columns
    ]
    execute(engine, f"CREATE TABLE credits ({', '.join(columns)}, PRIMARY KEY (snapshot_id))")
    with pytest.raises(
        SMSPartnerConfigurationError, match=r"'credits': it does not keep as they are written.*: balance"
    ):
        write_snapshots(engine, snapshot_table("credits"), [replace(SNAPSHOT, balance=Decimal("123456789012.123456"))])
    assert execute(engine, "SELECT count(*) FROM credits") == [(0,)]


def without_key(engine: Engine) -> None:
    write_snapshots(engine, snapshot_table("source"), [SNAPSHOT])
    execute(engine, "CREATE TABLE credits AS SELECT * FROM source WHERE 1 = 0")


def test_a_table_without_its_key_is_refused(engine: Engine) -> None:
    without_key(engine)
    with pytest.raises(SMSPartnerConfigurationError, match="does not keep one row per snapshot_id"):
        write_snapshots(engine, snapshot_table("credits"), [SNAPSHOT])


# Databases without an upsert


@pytest.mark.usefixtures("portable")
def test_the_portable_path_keeps_one_row_also_where_no_key_is_enforced(sqlite_engine: Engine) -> None:
    without_key(sqlite_engine)
    table = snapshot_table("credits")
    for sms in (1, 2):
        write_snapshots(
            sqlite_engine, table, [replace(SNAPSHOT, credit_sms=sms), replace(SNAPSHOT, run_id=f"manual__{sms}")]
        )
    assert [(row["run_id"], row["credit_sms"]) for row in stored(sqlite_engine, table)] == [
        ("manual__1", 2),
        ("manual__2", 269082),
    ]


@pytest.mark.usefixtures("portable")
def test_rows_that_were_doubled_before_are_reported(sqlite_engine: Engine) -> None:
    without_key(sqlite_engine)
    execute(sqlite_engine, *["INSERT INTO credits SELECT * FROM source"] * 2)
    with pytest.raises(SMSPartnerConfigurationError, match="does not keep one row per snapshot_id"):
        write_snapshots(sqlite_engine, snapshot_table("credits"), [SNAPSHOT])


@pytest.mark.usefixtures("portable")
def test_who_loses_the_race_for_a_key_on_the_portable_path_updates_the_row(
    sqlite_engine: Engine, naps: list[float]
) -> None:
    table, other = snapshot_table("credits"), sa.create_engine(sqlite_engine.url)
    write_snapshots(sqlite_engine, table, [replace(SNAPSHOT, run_id="manual__0")])

    def other_writes(*event: Any) -> None:
        if event[2].startswith("INSERT") and not naps:
            write_snapshots(other, table, [replace(SNAPSHOT, credit_sms=1)])

    sa.event.listen(sqlite_engine, "before_cursor_execute", other_writes)
    write_snapshots(sqlite_engine, table, [replace(SNAPSHOT, credit_sms=2)])
    other.dispose()
    assert len(naps) == 1
    assert [row["credit_sms"] for row in stored(sqlite_engine, table)] == [269082, 2]


def test_the_portable_path_leaves_a_row_to_keep_alone_that_came_after_the_look(sqlite_engine: Engine) -> None:
    table = snapshot_table("credits")
    write_snapshots(sqlite_engine, table, [SNAPSHOT])
    mine = [vars(replace(SNAPSHOT, credit_sms=2)), vars(replace(SNAPSHOT, run_id="manual__2", credit_sms=3))]
    with sqlite_engine.begin() as connection:
        rows = upsert_portably(connection, table, mine, True)
    assert {row["run_id"]: row["credit_sms"] for row in rows} == {"manual__1": 269082, "manual__2": 3}


@pytest.mark.usefixtures("portable", "naps")
def test_another_broken_constraint_needs_action(sqlite_engine: Engine) -> None:
    table = snapshot_table("credits")
    write_snapshots(sqlite_engine, table, [SNAPSHOT])
    execute(sqlite_engine, "CREATE UNIQUE INDEX one_run ON credits (dag_id)")
    with pytest.raises(SMSPartnerConfigurationError, match="constraint or trigger of somebody else"):
        write_snapshots(sqlite_engine, table, [replace(SNAPSHOT, run_id="manual__2")])


# Transient errors


def test_a_locked_file_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/credits.db", connect_args={"timeout": 0})
    table = snapshot_table("credits")
    write_snapshots(engine, table, [SNAPSHOT])
    other = engine.connect()
    other.begin()
    other.execute(sa.update(table).values(credit_sms=1))
    # The lock is held through the first attempt, and let go in the wait before the second.
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: other.close())
    write_snapshots(engine, table, [replace(SNAPSHOT, username="anna@example.com")])
    assert stored(engine, table)[0]["username"] == "anna@example.com"
    engine.dispose()
    assert caplog.text.count("met OperationalError, a transient error: retrying") == 1
    assert "anna" not in caplog.text


def test_no_error_of_ours_holds_a_value(sqlite_engine: Engine) -> None:
    execute(sqlite_engine, "CREATE TABLE credits (snapshot_id CHAR(36) PRIMARY KEY)")
    secret = replace(SNAPSHOT, username="anna@example.com")
    with pytest.raises(SMSPartnerError) as caught:
        write_snapshots(sqlite_engine, snapshot_table("credits"), [secret])
    assert "anna" not in str(caught.value)
    assert str(sqlite_engine.url) not in str(caught.value)
    assert caught.value.__context__ is None
