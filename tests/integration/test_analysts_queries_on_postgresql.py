"""The analysts' queries on a PostgreSQL server: the same files, the same history and the same results as on DuckDB."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import DBAPIError

from tests.analysts import QUERIES, TABLE, ask, ask_as_on_the_page, create_by_hand, promised, write, write_example

# SQLAlchemy 1.4 has no dialect for psycopg.
SCHEME = "postgresql+psycopg2" if sa.__version__ < "2" else "postgresql+psycopg"
SERVER = make_url(os.environ.get("TEST_POSTGRESQL_URL", f"{SCHEME}://postgres@127.0.0.1:5432/test"))


@pytest.fixture
def zone() -> str:
    """Return the session's, where clocks are set back in the night of the example: no query may go by it."""
    return "Europe/Paris"


@pytest.fixture
def engine(zone: str) -> Iterator[Engine]:
    """Point at a schema of the test's own, in a session of the zone."""
    try:
        root = sa.create_engine(SERVER)
        root.connect().close()
    except (DBAPIError, ImportError) as error:
        reason = f"no postgresql at {SERVER.host}: {type(getattr(error, 'orig', error)).__name__}"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    schema = f"smspartner_{secrets.token_hex(6)}"
    execute(root, f"CREATE SCHEMA {schema}")
    engine = sa.create_engine(SERVER.update_query_dict({"options": f"-csearch_path={schema} -ctimezone={zone}"}))
    yield engine
    engine.dispose()
    execute(root, f"DROP SCHEMA {schema} CASCADE")
    root.dispose()


def execute(engine: Engine, sql: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(sql)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Paris", "Asia/Kathmandu"])
def test_each_query_gives_the_result_on_the_page(engine: Engine) -> None:
    create_by_hand(engine)
    write_example(engine)
    for query in QUERIES:
        result = ask_as_on_the_page(engine, query)
        assert result == promised(query, result)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Paris"])
def test_duckdb_s_form_of_a_query_gives_the_same_without_an_index(engine: Engine) -> None:
    create_by_hand(engine)
    write_example(engine)
    for query in QUERIES:
        assert ask_as_on_the_page(engine, query, "duckdb") == ask_as_on_the_page(engine, query)


def test_rates_without_a_time_or_a_fall_are_unknown_and_large_ones_fit(engine: Engine) -> None:
    TABLE.create(engine)
    start, micro, largest = datetime(2026, 10, 25, tzinfo=UTC), timedelta(microseconds=1), "999999999999.999999"
    balances = {
        "alone": [(start, "5")],
        "at_once": [(start, "10"), (start, "9")],
        "fast": [(start, largest), (start + micro, "0")],
        "slow": [(start, largest), (start + timedelta(days=7), "999999999999.999998")],
        "steady": [(start, "10"), (start + timedelta(days=1), "10")],
        "unknown": [(start, None)],
    }
    write(engine, *((at, conn_id, balance) for conn_id, each in balances.items() for at, balance in each))
    left = {row["smspartner_conn_id"]: row["days_left"] for row in ask(engine, "days_left")}
    assert left == {
        "alone": None,
        "at_once": None,
        "fast": Decimal(0),
        "slow": Decimal(6_999_999_999_999_999_986),
        "steady": None,
    }


def test_the_table_that_a_warehouse_team_creates_is_the_one_that_the_package_creates(engine: Engine) -> None:
    columns = (
        "SELECT column_name, data_type, character_maximum_length, numeric_precision, numeric_scale, is_nullable"
        " FROM information_schema.columns WHERE table_schema = current_schema() ORDER BY column_name"
    )
    made = []
    for create in (TABLE.create, create_by_hand):
        create(engine)
        with engine.connect() as connection:
            made.append(connection.exec_driver_sql(columns).all())
        assert sa.inspect(engine).get_pk_constraint(TABLE.name)["constrained_columns"] == ["snapshot_id"]
        execute(engine, f"DROP TABLE {TABLE.name}")
    assert made[0] == made[1]
    assert len(made[0]) == len(TABLE.columns)
