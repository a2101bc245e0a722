"""The analysts' queries of the ledger on PostgreSQL and MariaDB: the same results as on SQLite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from tests.analysts import (
    LEDGER,
    LEDGER_QUERIES,
    ask_the_ledger,
    execute_file,
    promised_of_the_ledger,
    write_reservations,
)
from tests.integration.conftest import Place


@pytest.fixture
def engine(place: Place) -> Iterator[Engine]:
    engine = sa.create_engine(place.url)
    yield engine
    engine.dispose()


def test_each_query_gives_the_result_on_the_page_and_pruning_runs(engine: Engine) -> None:
    LEDGER.reservations.metadata.create_all(engine)
    write_reservations(engine)
    for query in LEDGER_QUERIES:
        assert ask_the_ledger(engine, query) == promised_of_the_ledger(query)
    execute_file(engine, "prune_ledger")
    assert len(ask_the_ledger(engine, "reserved")) == len(promised_of_the_ledger("reserved"))


@pytest.mark.parametrize("place", ["postgresql+psycopg2"], indirect=True)
def test_the_ledger_that_is_created_by_hand_is_the_one_that_the_package_creates(engine: Engine) -> None:
    columns = (
        "SELECT table_name, column_name, data_type, character_maximum_length, numeric_precision, numeric_scale,"
        " is_nullable FROM information_schema.columns WHERE table_schema = current_schema() ORDER BY 1, 2"
    )
    indexes = "SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema() ORDER BY 1"
    made = []
    for create in (LEDGER.reservations.metadata.create_all, lambda engine: execute_file(engine, "create_ledger")):
        create(engine)
        with engine.connect() as connection:
            made.append([connection.exec_driver_sql(sql).all() for sql in (columns, indexes)])
        LEDGER.reservations.metadata.drop_all(engine)
    assert made[0] == made[1]
    assert len(made[0][0]) == sum(len(table.columns) for table in LEDGER)
