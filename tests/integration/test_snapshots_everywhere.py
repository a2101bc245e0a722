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
from airflow_provider_smspartner.exceptions import SMSPartnerConfigurationError
from airflow_provider_smspartner.sql.snapshots import Snapshot, TaskInstanceRef, snapshot_table, write_snapshots
from airflow_provider_smspartner.sql.tables import folded_table, prepare_table
from tests.databases import BEHAVIOURS, DATABASES, GAPS
from tests.integration.conftest import Store, execute
from tests.integration.writers import check_side_by_side, write_side_by_side

NAME = "smspartner_credit_snapshots"
TABLE = snapshot_table(NAME)
SNAPSHOT = Snapshot.of(
    Account(User(None, None, None), Credits(5, 6, 7, 0, Decimal("10225.119"), "EUR"), datetime(2026, 7, 1, tzinfo=UTC)),
    "smspartner_default",
    TaskInstanceRef("campaign", "snapshot", "manual__1"),
)


def queried(engine: Engine, name: str = NAME) -> str:
    """Return the name of what analysts query: on ClickHouse the view, which has the last row of each key."""
    return f"{name}_final" if engine.dialect.name == "clickhousedb" else name


def stored(engine: Engine) -> list[dict[str, Any]]:
    table = snapshot_table(queried(engine))
    if engine.dialect.name != "clickhousedb":
        table = folded_table(table, engine.dialect)
    with engine.connect() as connection:
        query = sa.select(table).order_by(table.c.run_id, table.c.smspartner_conn_id)
        return [dict(row) for row in connection.execute(query).mappings()]


def count(engine: Engine, name: str = NAME) -> int:
    ((number,),) = execute(engine, f"SELECT count(*) FROM {queried(engine, name)}")
    return int(number)


def refusal(engine: Engine, table: sa.Table = TABLE, **options: bool) -> str:
    """Return the sentence that a write is refused with, for good."""
    with pytest.raises(SMSPartnerConfigurationError) as caught:
        write_snapshots(engine, table, [SNAPSHOT], **options)
    return str(caught.value)


@pytest.mark.shows("created")
def test_the_table_is_made_and_found_without_quotes(database: Engine) -> None:
    write_snapshots(database, TABLE, [SNAPSHOT])
    write_snapshots(database, TABLE, [SNAPSHOT], create_table=False)
    names = " ".join(f"AND {column} IS NOT NULL" for column in vars(SNAPSHOT) if getattr(SNAPSHOT, column) is not None)
    query = f"SELECT snapshot_id, dag_id FROM {queried(database)} WHERE logical_date IS NULL {names}"
    assert execute(database, query) == [(SNAPSHOT.snapshot_id, "campaign")]


@pytest.mark.shows("replaced")
def test_a_re_run_replaces_its_rows_and_another_run_adds_its_own(database: Engine) -> None:
    for sms in (1, 2):
        accounts = [replace(SNAPSHOT, smspartner_conn_id=f"shop_{n}", credit_sms=sms) for n in range(3)]
        assert write_snapshots(database, TABLE, accounts) == accounts
    write_snapshots(database, TABLE, [accounts[0], replace(accounts[0], run_id="manual__2", credit_sms=None)])
    assert [(row["run_id"], row["smspartner_conn_id"], row["credit_sms"]) for row in stored(database)] == [
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
    assert stored(database) == [vars(row) for row in (*first, new)]


@pytest.mark.shows("many")
def test_many_accounts_are_written_in_one_go_and_once_more(store: Store, database: Engine) -> None:
    names = [f"shop_{n:03}" for n in range(store.database.accounts_count)]
    for sms in (1, 2):
        accounts = [replace(SNAPSHOT, smspartner_conn_id=name, credit_sms=sms) for name in names]
        assert write_snapshots(database, TABLE, accounts) == accounts
    assert stored(database) == [vars(account) for account in accounts]


@pytest.mark.shows("exact")
def test_an_amount_comes_back_to_its_last_digit(database: Engine) -> None:
    for text in ("123456789012.123456", "-999999999999.999999", "0.000001", "0", "10225.119"):
        check_round_trip(database, [{"balance": Decimal(text)}])


@pytest.mark.shows("whole")
def test_a_whole_number_comes_back_as_it_was(database: Engine) -> None:
    values = [
        {"credit_sms": 2**63 - 1, "credit_hlr": -(2**63), "map_index": 2**31 - 1},
        {"credit_sms": 2**53 + 1, "credit_hlr": 0, "map_index": -1},
        {"credit_sms": 0, "to_send": -1},
    ]
    check_round_trip(database, values)


def check_round_trip(engine: Engine, values: list[dict[str, Any]]) -> None:
    """See that rows come back as they were written, new and replaced."""
    written = [replace(SNAPSHOT, run_id=f"manual__{n}", **value) for n, value in enumerate(values)]
    for _ in range(2):
        assert write_snapshots(engine, TABLE, written) == written
    assert stored(engine) == [vars(snapshot) for snapshot in written]


@pytest.mark.shows("UTC")
def test_an_instant_comes_back_in_utc_to_the_microsecond(database: Engine) -> None:
    east, west = timezone(timedelta(hours=5, minutes=45)), timezone(-timedelta(hours=11))
    instants = [
        datetime(2026, 3, 29, 2, 30, 0, 1, tzinfo=east),
        datetime(2026, 1, 1, 1, 30, tzinfo=west),
        datetime(2026, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    ]
    check_round_trip(
        database,
        [{"captured_at": each, "logical_date": each if n else None} for n, each in enumerate(instants)],
    )
    rows = stored(database)
    assert [row["captured_at"] for row in rows] == instants
    assert {row["captured_at"].tzinfo for row in rows} == {UTC}


@pytest.mark.shows("unicode")
def test_a_text_comes_back_as_it_was(database: Engine) -> None:
    texts = ["été 🎉 ' \" % %s :x \\ ", "Ελλάδα\u0301 \u202eabc", "a\nb\tc", "{} $1 ? %(x)s @p --", "\\' OR 1=1"]
    texts.append("🎉" * 250)  # as many letters as fit, each of four bytes
    check_round_trip(database, [{"dag_id": text} for text in texts])


@pytest.mark.shows("NULL")
def test_what_is_unknown_stays_null(database: Engine) -> None:
    unknown = [name for name in vars(SNAPSHOT) if name.startswith("credit")]
    unknown += ["to_send", "balance", "currency", "logical_date", "username"]
    known = {"username": "anna@example.com", "logical_date": SNAPSHOT.captured_at}
    # First and last: a source of rows takes its types from some of them.
    check_round_trip(database, [dict.fromkeys(unknown), known, dict.fromkeys(unknown)])


@pytest.mark.parametrize("keep", [False, True], ids=["replace", "keep"])
@pytest.mark.shows("at once")
def test_many_writers_make_one_table_and_no_duplicates(store: Store, keep: bool) -> None:
    of = store.database
    write_side_by_side(store.open_engine, TABLE, SNAPSHOT, of.writers_count, keep=keep, in_threads=of.in_threads)
    engine = store.open_engine()
    check_side_by_side(stored(engine), of.writers_count, keep=keep)
    engine.dispose()


@pytest.mark.shows("no DDL")
def test_without_create_table_no_ddl_is_issued(database: Engine) -> None:
    statements: list[str] = []
    sa.event.listen(database, "before_cursor_execute", lambda *event: statements.append(event[2]))
    assert "is not there, and create_table is False" in refusal(database, create_table=False)
    assert statements
    assert not [statement for statement in statements if "CREATE" in statement]
    write_snapshots(database, TABLE, [SNAPSHOT])
    del statements[:]
    write_snapshots(database, TABLE, [SNAPSHOT], create_table=False)
    assert statements
    assert not [statement for statement in statements if "CREATE" in statement]


SCHEMA_IN = {"mariadb": "SELECT database()", "mysql": "SELECT database()"}


@pytest.mark.shows("right")
def test_a_right_that_is_missing_is_told_with_the_grant_that_gives_it(store: Store, database: Engine) -> None:
    with store.make_guest() as guest:
        in_mysql = database.dialect.name in SCHEMA_IN
        ((schema,),) = execute(database, SCHEMA_IN.get(database.dialect.name, "SELECT current_schema()"))
        table, another = snapshot_table(NAME, schema), snapshot_table("another", schema)
        write_snapshots(database, table, [SNAPSHOT])
        told = refusal(guest, table)
        assert "the connection's login lacks a right: have its owner run GRANT SELECT, INSERT, " in told
        writing, _, creating = told.partition("run ")[2].partition("; where this is to create the table, ")
        if not in_mysql:
            execute(database, f"GRANT USAGE ON SCHEMA {schema} TO {guest.url.username}")
        assert "lacks a right" in refusal(guest, table)
        execute(database, writing)
        for run_id in ("manual__1", "manual__2", "manual__2"):
            write_snapshots(guest, table, [replace(SNAPSHOT, run_id=run_id, credit_sms=9)])
        assert [row["credit_sms"] for row in stored(database)] == [9, 9]
        assert "lacks a right" in refusal(guest, another)
        execute(database, creating)
        if in_mysql:  # where who makes a table does not own it
            another.create(database)
            execute(database, writing.replace(NAME, "another"))
        write_snapshots(guest, another, [SNAPSHOT])


@pytest.mark.shows("columns")
def test_columns_that_are_missing_are_named(database: Engine) -> None:
    write_snapshots(database, TABLE, [SNAPSHOT])
    for column in ("to_send", "currency"):
        execute(database, f"ALTER TABLE {NAME} DROP COLUMN {column}")
    assert "it lacks these columns: to_send, currency." in refusal(database)


TEXT_IN = {"bigquery": "STRING", "clickhousedb": "Nullable(String)"}
FILLED_IN = {"clickhousedb": "ALTER TABLE {} UPDATE region = 'north' WHERE true SETTINGS mutations_sync = 1"}


@pytest.mark.shows("others'")
def test_a_column_of_somebody_else_is_left_alone(database: Engine) -> None:
    write_snapshots(database, TABLE, [SNAPSHOT])
    dialect = database.dialect.name
    execute(database, f"ALTER TABLE {NAME} ADD COLUMN region {TEXT_IN.get(dialect, 'VARCHAR(10)')}")
    execute(database, FILLED_IN.get(dialect, "UPDATE {} SET region = 'north' WHERE credit_sms = 5").format(NAME))
    write_snapshots(database, TABLE, [replace(SNAPSHOT, credit_sms=8)])
    final = " FINAL" if dialect == "clickhousedb" else ""
    ((region, sms),) = execute(database, f"SELECT region, credit_sms FROM {NAME}{final}")
    assert sms == 8
    assert region == "north", "what somebody else wrote is gone"


@pytest.mark.shows("types")
def test_a_column_of_another_type_is_refused_by_its_name(database: Engine) -> None:
    wrong = snapshot_table(NAME)
    wrong.c.balance.type = sa.BigInteger()
    prepare_table(database, folded_table(wrong, database.dialect), create_table=True)
    told = refusal(database)
    assert "these columns: balance." in told
    assert "Alter it so that it has: balance " in told
    if "othing was written" in told:
        assert count(database) == 0


@pytest.mark.parametrize("name", ["credits", "lateral", "value", "Order", "a-b"])
@pytest.mark.shows("names")
def test_a_name_is_quoted_and_keeps_its_case(database: Engine, name: str) -> None:
    check_name(database, name)


@pytest.mark.parametrize("name", ["Mixed Case", "été"])
@pytest.mark.shows("odd names")
def test_a_name_of_odd_characters_is_quoted(database: Engine, name: str) -> None:
    check_name(database, name)


def check_name(engine: Engine, name: str) -> None:
    """See that a table of this name is made once, written twice, and found by the name that the database keeps."""
    for sms in (1, 2):
        write_snapshots(engine, snapshot_table(name), [replace(SNAPSHOT, credit_sms=sms)])
    kept = folded_table(snapshot_table(queried(engine, name)), engine.dialect)
    with engine.connect() as connection:
        assert connection.execute(sa.select(kept.c.credit_sms)).scalars().all() == [2]


def test_each_gap_is_one_of_the_suite() -> None:
    names = {database.name for database in DATABASES}
    assert {behaviour for behaviour, _ in GAPS} <= set(BEHAVIOURS)
    assert {name for _, name in GAPS} <= names
