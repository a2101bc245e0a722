"""The snapshot table on PostgreSQL and MariaDB: odd names, writers that wait, and sessions that break."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine
from sqlalchemy.schema import CreateSchema, DropSchema
from sqlalchemy.sql import quoted_name

from airflow_provider_smspartner.account import Account, Credits, User
from airflow_provider_smspartner.exceptions import SMSPartnerConfigurationError
from airflow_provider_smspartner.sql import snapshots
from airflow_provider_smspartner.sql.snapshots import Snapshot, TaskInstanceRef, snapshot_table, write_snapshots
from tests.integration.conftest import Place, execute
from tests.integration.writers import check_side_by_side, write_side_by_side

WRITERS = 16

NOON = datetime(2026, 7, 1, 12, 0, 0, 123456, tzinfo=UTC)
SNAPSHOT = Snapshot.of(
    Account(User("anna@example.com", None, None), Credits(5, 6, 7, 0, Decimal("10225.119"), "EUR"), NOON),
    "smspartner_default",
    TaskInstanceRef("campaign", "snapshot", "manual__1", logical_date=NOON),
)
TABLE = snapshot_table("smspartner_credit_snapshots")


@pytest.fixture
def engine(place: Place) -> Iterator[Engine]:
    engine = sa.create_engine(place.url, hide_parameters=True)
    yield engine
    engine.dispose()


@pytest.fixture
def portable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every database one without an upsert."""
    monkeypatch.setattr(snapshots, "UPSERTS", {})


@pytest.fixture(params=["native", "portable"])
def path(request: pytest.FixtureRequest) -> str:
    if request.param == "portable":
        request.getfixturevalue("portable")
    return str(request.param)


def stored(engine: Engine, table: sa.Table = TABLE) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(sa.select(table).order_by(table.c.run_id)).mappings()]


# Values and names


@pytest.mark.usefixtures("portable")
def test_every_value_comes_back_as_it_was_on_the_portable_path_too(engine: Engine) -> None:
    east = timezone(timedelta(hours=5, minutes=45))
    values: list[dict[str, Any]] = [
        {"balance": Decimal("123456789012.123456"), "credit_sms": 2**63 - 1, "credit_hlr": -(2**63)},
        {"balance": Decimal("-999999999999.999999"), "credit_sms": 0, "to_send": None},
        {"balance": Decimal(0), "captured_at": datetime(2026, 3, 29, 2, 30, 0, 1, tzinfo=east)},
        {"balance": None, "currency": None, "captured_at": datetime(2026, 1, 1, tzinfo=timezone(-timedelta(hours=11)))},
        {"logical_date": None, "username": "anna@example.com", "map_index": 2**31 - 1},
        {"dag_id": "été 🎉 ' \" % :x \\ ", "captured_at": datetime(2026, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)},
    ]
    written = [replace(SNAPSHOT, run_id=f"manual__{n}", **value) for n, value in enumerate(values)]
    for _ in range(2):
        write_snapshots(engine, TABLE, written)
    assert stored(engine) == [vars(snapshot) for snapshot in written]


def test_the_table_has_the_types_of_the_documentation(place: Place, engine: Engine) -> None:
    write_snapshots(engine, TABLE, [SNAPSHOT])
    columns = {
        column["name"]: column["type"].compile(dialect=engine.dialect)
        for column in sa.inspect(engine).get_columns(TABLE.name)
    }
    assert columns["snapshot_id"].startswith("CHAR(36)")
    assert columns["balance"] == ("NUMERIC(18, 6)" if place.is_postgresql else "DECIMAL(18, 6)")
    assert columns["captured_at"] == ("TIMESTAMP WITH TIME ZONE" if place.is_postgresql else "DATETIME(6)")
    assert columns["credit_sms"].startswith("BIGINT")
    assert sa.inspect(engine).get_pk_constraint(TABLE.name)["constrained_columns"] == ["snapshot_id"]
    utc = "captured_at AT TIME ZONE 'UTC'" if place.is_postgresql else "captured_at"
    assert execute(engine, f"SELECT {utc} FROM {TABLE.name}") == [(NOON.replace(tzinfo=None),)]


@pytest.mark.parametrize("name", ["Order", "a`b\"c'd", "a :x (b)"])
def test_any_table_and_schema_name_is_quoted(place: Place, engine: Engine, name: str) -> None:
    schema = quoted_name(f"{name} {place.name}", quote=True)
    with place.root.begin() as connection:
        connection.execute(CreateSchema(schema))
    try:
        for table in (snapshot_table(name), snapshot_table(name, schema)):
            for sms in (1, 2):
                write_snapshots(engine, table, [replace(SNAPSHOT, credit_sms=sms)])
            assert [row["credit_sms"] for row in stored(engine, table)] == [2]
        assert sa.inspect(engine).get_table_names(schema=schema) == [name]
    finally:
        with place.root.begin() as connection:
            connection.execute(DropSchema(schema, cascade=place.is_postgresql))


def test_a_name_longer_than_the_database_keeps_is_refused(engine: Engine) -> None:
    with pytest.raises(SMSPartnerConfigurationError, match="longer than the database keeps"):
        write_snapshots(engine, snapshot_table("é" * 40 + "x" * 40), [SNAPSHOT])


def test_a_name_is_as_long_as_its_bytes(place: Place, engine: Engine) -> None:
    table = snapshot_table("é" * 40)
    if place.is_postgresql:  # which would cut it, and so mistake it for another
        with pytest.raises(SMSPartnerConfigurationError, match="longer than the database keeps"):
            write_snapshots(engine, table, [SNAPSHOT])
    else:
        write_snapshots(engine, table, [SNAPSHOT])
        assert len(stored(engine, table)) == 1


def test_any_character_fits_whatever_the_schema_s_own_charset_is(place: Place, engine: Engine) -> None:
    if not place.is_postgresql:
        place.execute(f"ALTER SCHEMA {place.name} CHARACTER SET latin1")
    written = replace(SNAPSHOT, dag_id="été 🎉")
    write_snapshots(engine, TABLE, [written])
    assert stored(engine) == [vars(written)]


def test_each_database_is_written_in_its_own_words(engine: Engine) -> None:
    statements: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", lambda *event: statements.append(event[2]))
    write_snapshots(engine, TABLE, [SNAPSHOT])
    (upsert,) = [statement for statement in statements if statement.startswith("INSERT")][-1:]
    assert ("ON CONFLICT" if engine.dialect.name == "postgresql" else "ON DUPLICATE KEY UPDATE") in upsert
    assert ("RETURNING" in upsert) == (sa.__version__ >= "2")


@pytest.mark.parametrize("place", ["mariadb+pymysql", "mysql+mysqlconnector"], indirect=True)
def test_mysql_itself_which_has_no_returning_is_read_back(engine: Engine) -> None:
    write_snapshots(engine, TABLE, [SNAPSHOT])
    engine.dialect.insert_executemany_returning = False
    statements: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", lambda *event: statements.append(event[2]))
    write_snapshots(engine, TABLE, [replace(SNAPSHOT, credit_sms=9)])
    assert [statement.partition(" ")[0] for statement in statements] == ["INSERT", "SELECT"]
    assert "RETURNING" not in statements[0]
    assert [row["credit_sms"] for row in stored(engine)] == [9]
    execute(engine, f"ALTER TABLE {TABLE.name} DROP PRIMARY KEY")
    with pytest.raises(SMSPartnerConfigurationError, match="does not keep one row per snapshot_id"):
        write_snapshots(engine, TABLE, [SNAPSHOT])
    assert len(stored(engine)) == 1


@pytest.mark.skipif(sa.__version__ < "2", reason="SQLAlchemy 1.4 knows no RETURNING of MariaDB")
@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("balance", "DOUBLE"),
        ("balance", "VARCHAR(30)"),
        ("captured_at", "VARCHAR(30)"),
        ("captured_at", "DATETIME(3)"),
        ("logical_date", "DATE"),
        ("credit_sms", "DOUBLE"),
        ("credit_hlr", "VARCHAR(30)"),
        ("map_index", "VARCHAR(30)"),
        ("dag_id", "VARBINARY(250)"),
        ("snapshot_id", "CHAR(40) NOT NULL, DROP PRIMARY KEY"),
    ],
)
@pytest.mark.parametrize("place", ["mariadb+pymysql", "mysql+mysqlconnector"], indirect=True)
def test_mariadb_says_what_it_holds_by_itself_and_so_that_another_type_shows(
    engine: Engine, column: str, kind: str
) -> None:
    snapshot = replace(SNAPSHOT, balance=Decimal("10225.119001"))  # which a float holds as exactly
    write_snapshots(engine, TABLE, [snapshot])
    statements: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", lambda *event: statements.append(event[2].split()[0]))
    write_snapshots(engine, TABLE, [snapshot, replace(snapshot, run_id="été \"'\\ 🎉\t", balance=None)])
    assert statements == ["INSERT"]
    execute(engine, f"ALTER TABLE {TABLE.name} MODIFY {column} {kind}")
    with pytest.raises(SMSPartnerConfigurationError, match=column):
        write_snapshots(engine, TABLE, [snapshot])
    assert len(stored(engine)) == 2


@pytest.mark.usefixtures("portable")
def test_a_table_without_its_key_gets_no_duplicates_on_the_portable_path(place: Place, engine: Engine) -> None:
    write_snapshots(engine, TABLE, [SNAPSHOT])
    key = f"CONSTRAINT {TABLE.name}_pkey" if place.is_postgresql else "PRIMARY KEY"
    execute(engine, f"ALTER TABLE {TABLE.name} DROP {key}")
    write_snapshots(engine, TABLE, [SNAPSHOT])
    assert len(stored(engine)) == 1


# Many at once


@pytest.mark.parametrize("keep", [False, True], ids=["replace", "keep"])
@pytest.mark.usefixtures("portable")
def test_sixteen_processes_make_no_duplicates_on_the_portable_path_either(
    place: Place, engine: Engine, keep: bool
) -> None:
    write_side_by_side(lambda: sa.create_engine(place.url), TABLE, SNAPSHOT, WRITERS, keep=keep)
    check_side_by_side(stored(engine), WRITERS, keep=keep)


def test_a_row_that_another_writer_makes_in_between_is_kept_too(place: Place, engine: Engine, path: str) -> None:
    write_snapshots(engine, TABLE, [replace(SNAPSHOT, run_id="manual__0")])
    theirs, other, came = replace(SNAPSHOT, credit_sms=1), sa.create_engine(place.url), []

    def other_writes(*event: Any) -> None:
        if event[2].startswith("INSERT") and not came:
            came.extend(write_snapshots(other, TABLE, [theirs]))

    sa.event.listen(engine, "before_cursor_execute", other_writes)
    mine = [replace(SNAPSHOT, credit_sms=2), replace(SNAPSHOT, run_id="manual__2")]
    assert write_snapshots(engine, TABLE, mine, keep=True) == [theirs, mine[1]]
    other.dispose()
    assert [row["credit_sms"] for row in stored(engine)] == [5, 1, 5]


def write_and_die(url: URL) -> None:
    engine = sa.create_engine(url)
    sa.event.listen(engine, "after_cursor_execute", lambda *event: event[2].startswith("INSERT") and kill_myself())
    write_snapshots(engine, TABLE, [replace(SNAPSHOT, run_id=f"manual__{n}", credit_sms=99) for n in range(50)])


def kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_writer_leaves_no_half_row(place: Place, engine: Engine) -> None:
    write_snapshots(engine, TABLE, [SNAPSHOT])
    writer = multiprocessing.get_context("fork").Process(target=write_and_die, args=(place.url,))
    engine.dispose()
    writer.start()
    writer.join(20)
    assert writer.exitcode == -signal.SIGKILL
    assert stored(engine) == [vars(SNAPSHOT)]
    write_snapshots(engine, TABLE, [replace(SNAPSHOT, credit_sms=1)])
    assert [row["credit_sms"] for row in stored(engine)] == [1]


def wait_until_blocked(engine: Engine, place: Place) -> None:
    """Return when a session waits for a lock on the table of this place: other tests have theirs."""
    query = (
        "SELECT count(*) FROM pg_locks waits JOIN pg_locks has USING (pid) WHERE NOT waits.granted"
        f" AND has.relation = '{place.name}.{TABLE.name}'::regclass"
        if place.is_postgresql
        else f"SELECT count(*) FROM information_schema.processlist WHERE db = '{place.name}' AND info LIKE 'INSERT%'"
    )
    for _ in range(500):
        if execute(engine, query) != [(0,)]:
            return
        threading.Event().wait(0.01)
    raise AssertionError("nobody waits")


@pytest.mark.usefixtures("path")
def test_a_waiting_writer_survives_the_rollback_of_the_first(place: Place, engine: Engine) -> None:
    write_snapshots(engine, TABLE, [replace(SNAPSHOT, run_id="manual__0")])
    waiters = [
        threading.Thread(target=write_snapshots, args=(engine, TABLE, [replace(SNAPSHOT, credit_sms=number)]))
        for number in range(2, 5)
    ]
    with engine.connect() as first:
        transaction = first.begin()
        first.execute(sa.insert(TABLE), [vars(SNAPSHOT) | {"credit_sms": 1}])
        for waiter in waiters:
            waiter.start()
        wait_until_blocked(place.root, place)
        transaction.rollback()
    for waiter in waiters:
        waiter.join(20)
    rows = stored(engine)
    assert [row["run_id"] for row in rows] == ["manual__0", "manual__1"]
    assert rows[1]["credit_sms"] in (2, 3, 4)


def test_a_deadlock_is_retried(place: Place, engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    pair = sorted((replace(SNAPSHOT, run_id=f"manual__{n}") for n in range(2)), key=lambda s: s.snapshot_id)
    write_snapshots(engine, TABLE, pair)
    writer = threading.Thread(target=write_snapshots, args=(engine, TABLE, [replace(s, credit_sms=2) for s in pair]))
    lock = sa.update(TABLE).values(credit_sms=1).where
    with engine.connect() as other:
        transaction = other.begin()
        # The victim is to be the writer: in MariaDB that is who changed the least, in PostgreSQL who notices first.
        other.execute(sa.insert(TABLE), [vars(replace(SNAPSHOT, run_id=f"other__{n}")) for n in range(20)])
        if place.is_postgresql:
            other.execute(sa.text("SET LOCAL deadlock_timeout = '10s'"))
        other.execute(lock(TABLE.c.snapshot_id == pair[1].snapshot_id))
        writer.start()
        wait_until_blocked(place.root, place)
        other.execute(lock(TABLE.c.snapshot_id == pair[0].snapshot_id))
        transaction.commit()
    writer.join(20)
    assert [row["credit_sms"] for row in stored(engine)[:2]] == [2, 2]
    assert "a transient error: retrying" in caplog.text


def test_a_session_that_breaks_is_replaced(place: Place, engine: Engine) -> None:
    write_snapshots(engine, TABLE, [SNAPSHOT])
    kill = "SELECT pg_terminate_backend({})" if place.is_postgresql else "KILL {}"
    whoami = "SELECT pg_backend_pid()" if place.is_postgresql else "SELECT connection_id()"
    broken: list[int] = []

    def break_once(connection: Any, cursor: Any, statement: str, *_: object) -> None:
        if statement.startswith("INSERT") and not broken:
            cursor.execute(whoami)
            broken.extend(cursor.fetchone())
            place.execute(kill.format(broken[0]))

    sa.event.listen(engine, "before_cursor_execute", break_once)
    write_snapshots(engine, TABLE, [replace(SNAPSHOT, credit_sms=3)])
    assert broken
    assert [row["credit_sms"] for row in stored(engine)] == [3]
