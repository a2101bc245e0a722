"""The analysts' page: on DuckDB its queries give the results it shows, and its picture is what the script draws."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from importlib.metadata import version
from importlib.util import module_from_spec, spec_from_file_location

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from tests.analysts import (
    LEDGER,
    LEDGER_QUERIES,
    PAGE,
    QUERIES,
    TABLE,
    ask,
    ask_as_on_the_page,
    ask_the_ledger,
    create_by_hand,
    execute_file,
    promised,
    promised_of_the_ledger,
    write,
    write_example,
    write_reservations,
)

START = datetime(2026, 10, 1, tzinfo=UTC)


@pytest.fixture
def zone() -> str:
    """Return the session's, where clocks are set back in the night of the example: no query may go by it."""
    return "Europe/Paris"


@pytest.fixture
def engine(zone: str) -> Iterator[Engine]:
    engine = sa.create_engine("duckdb:///:memory:")
    with engine.begin() as connection:
        connection.exec_driver_sql(f"SET TimeZone = '{zone}'")
    yield engine
    engine.dispose()


@pytest.mark.parametrize("zone", ["UTC", "Europe/Paris", "Asia/Kathmandu"])
@pytest.mark.parametrize("query", QUERIES)
def test_each_query_gives_the_result_on_the_page(engine: Engine, query: str) -> None:
    write_example(engine)
    result = ask_as_on_the_page(engine, query)
    assert result == promised(query, result)


def test_a_day_can_be_that_of_paris_which_had_25_hours(engine: Engine) -> None:
    write_example(engine)
    days = ask_as_on_the_page(engine, "consumption_per_day", **{"'UTC' AS at_utc": "'Europe/Paris' AS at_utc"})
    assert [(day["day_utc"], day["consumed"]) for day in days if day["smspartner_conn_id"].endswith("paris")] == [
        (date(2026, 10, 25), Decimal("49.5")),
        (date(2026, 10, 26), Decimal("20.5")),
    ]


def test_an_unknown_balance_hides_neither_a_fall_nor_a_top_up(engine: Engine) -> None:
    balances = ["10", None, "8", None, "20"]
    write(engine, *((START + timedelta(hours=hour), "a", balance) for hour, balance in enumerate(balances)))
    assert [day["consumed"] for day in ask_as_on_the_page(engine, "consumption_per_day")] == [Decimal(2)]
    assert [top_up["at_least"] for top_up in ask_as_on_the_page(engine, "top_ups")] == [Decimal(12)]


def test_the_rate_is_that_of_the_last_168_hours(engine: Engine) -> None:
    end = datetime(2026, 10, 26, 12, tzinfo=UTC)
    hours_ago = {"1000": 500, "900": 168.5, "100": 168, "93": 100, "86": 50, "79": 0}
    write(
        engine,
        *((end - timedelta(hours=hours), "a", balance) for balance, hours in hours_ago.items()),
        (end + timedelta(days=30), "read for longer", "1"),
    )
    left, _ = ask(engine, "days_left")
    assert (left["measured_days"], left["per_day"], left["days_left"]) == (Decimal(7), Decimal(3), Decimal("26.3"))


@pytest.mark.parametrize("balances", [["10"], ["10", "10"], ["10", "20"], ["-1", "-1", "5"]])
def test_what_does_not_fall_has_no_end(engine: Engine, balances: list[str]) -> None:
    write(engine, *((START + timedelta(hours=hour), "a", balance) for hour, balance in enumerate(balances)))
    (left,) = ask(engine, "days_left")
    assert left["balance"] == Decimal(balances[-1])
    assert left["days_left"] is None


@pytest.mark.parametrize("balances", [("10", "9"), ("9", "10")])
def test_two_snapshots_of_one_instant_give_no_rate(engine: Engine, balances: tuple[str, str]) -> None:
    write(engine, *((START, "a", balance) for balance in balances))
    (left,) = ask(engine, "days_left")
    assert (left["per_day"], left["days_left"]) == (None, None)


def test_an_overdrawn_account_has_no_days_left(engine: Engine) -> None:
    write(engine, (START, "a", "1"), (START + timedelta(days=1), "a", "-1"))
    (left,) = ask(engine, "days_left")
    assert (left["per_day"], left["days_left"]) == (Decimal(2), Decimal(0))


@pytest.mark.skipif(version("duckdb") < "2", reason="DuckDB before 2 has no room for a difference of 18 digits")
def test_the_largest_amounts_overflow_no_query(engine: Engine) -> None:
    micro, largest = timedelta(microseconds=1), "999999999999.999999"
    amounts = [largest, "-" + largest, largest, "999999999999.999998"]
    write(engine, *((START + number * micro, "a", amount) for number, amount in enumerate(amounts)))
    (day,) = ask_as_on_the_page(engine, "consumption_per_day")
    assert day["consumed"] == Decimal("1999999999999.999999")
    (top_up,) = ask_as_on_the_page(engine, "top_ups")
    assert top_up["at_least"] == Decimal("1999999999999.999998")
    assert ask(engine, "days_left")[0]["days_left"] == 0


def test_a_whole_month_of_one_micro_euro_a_day_is_counted_exactly(engine: Engine) -> None:
    start = Decimal("123456789012.123456")
    write(engine, *((START + timedelta(days=day), "a", str(start - day * Decimal("0.000001"))) for day in range(31)))
    days = ask_as_on_the_page(engine, "consumption_per_day")
    assert [day["consumed"] for day in days] == [Decimal("0.000001")] * 30
    assert ask(engine, "days_left")[0]["days_left"] > Decimal(10) ** 17


def test_an_account_whose_balance_never_was_known_is_listed_as_unknown(engine: Engine) -> None:
    write(engine, (START, "a", None), (START + timedelta(hours=1), "a", None))
    (row,) = ask(engine, "last_balance")
    assert (row["balance"], row["known_at_utc"]) == (None, None)
    assert row["read_at_utc"] == datetime(2026, 10, 1, 1)  # noqa: DTZ001  # the query says UTC
    assert [ask_as_on_the_page(engine, query) for query in ("consumption_per_day", "top_ups", "days_left")] == [
        [],
        [],
        [],
    ]


def test_the_last_gap_runs_until_now(engine: Engine) -> None:
    now = datetime.now(UTC)
    write(engine, (now - timedelta(hours=50), "a", "10"), (now, "b", "10"))
    (gap,) = ask(engine, "gaps")
    assert gap["smspartner_conn_id"] == "a"
    assert gap["hours"] in (49, 50)  # an hour may end between here and there


def test_the_table_that_a_warehouse_team_creates_is_the_one_that_the_package_creates(engine: Engine) -> None:
    columns = sa.text("SELECT column_name, data_type, is_nullable FROM information_schema.columns ORDER BY 1")
    made = []
    for create in (lambda: TABLE.create(engine), lambda: create_by_hand(engine)):
        create()
        with engine.begin() as connection:
            made.append(connection.execute(columns).all())
            connection.exec_driver_sql(f"DROP TABLE {TABLE.name}")
    assert made[0] == made[1]
    assert len(made[0]) == len(TABLE.columns)


def test_a_run_that_may_not_create_the_table_fills_the_one_of_the_page(engine: Engine) -> None:
    create_by_hand(engine)
    write_example(engine)
    write_example(engine)
    assert len(ask(engine, "last_balance")) == 2
    with engine.connect() as connection:
        assert connection.exec_driver_sql(f"SELECT count(*) FROM {TABLE.name}").scalar() == 15


def test_the_page_shows_every_query_its_result_and_every_column() -> None:
    page = (PAGE / "index.rst").read_text()
    included = re.findall(r"(?:include::|:file:|figure::) ([\w.]+)$", page, re.MULTILINE)
    tabs = sorted(PAGE.glob("*.tabs"))
    in_tabs = [re.findall(r"literalinclude:: ([\w/.]+)$", path.read_text(), re.MULTILINE) for path in tabs]
    shown_elsewhere = {"create_ledger.sql", "prune_ledger.sql"}
    there = {path.name for path in PAGE.iterdir() if path.suffix in {".sql", ".csv", ".svg", ".tabs"}}
    assert sorted(included + [shown[0] for shown in in_tabs]) == sorted(there - shown_elsewhere)
    assert [shown[0] for shown in in_tabs] == [f"{path.stem}.sql" for path in tabs]
    # The folders of other databases, and of what is translated where PostgreSQL has a query of its own.
    in_folders = [str(path.relative_to(PAGE)) for path in PAGE.glob("*/*.sql") if path.parent.name != "standard"]
    assert sorted(path for shown in in_tabs for path in shown[1:]) == sorted(in_folders)
    assert set(re.findall(r"^ {4}\* - ``(\w+)``", page, re.MULTILINE)) == set(TABLE.columns.keys())


@pytest.fixture
def ledger() -> Iterator[Engine]:
    engine = sa.create_engine("sqlite://")
    LEDGER.reservations.metadata.create_all(engine)
    write_reservations(engine)
    yield engine
    engine.dispose()


@pytest.mark.parametrize("query", LEDGER_QUERIES)
def test_each_query_of_the_ledger_gives_the_result_on_the_page(ledger: Engine, query: str) -> None:
    assert ask_the_ledger(ledger, query) == promised_of_the_ledger(query)


def test_pruning_keeps_what_is_open_and_the_deductions_of_what_is_kept(ledger: Engine) -> None:
    deduction = {"account_id": "paris", "amount": 1, "deducted_at": START, "version": 1, "settled_us": 0, "epoch": 1}
    of = {"pruned": "newsletter monday", "kept": "reminder wednesday"}
    rows = [{"deduction_id": key, "deduction_key": key, "reservation_id": of[key], **deduction} for key in of]
    with ledger.begin() as connection:
        connection.execute(LEDGER.deductions.insert(), rows)
        connection.execute(
            LEDGER.reservations.update()
            .where(LEDGER.reservations.c.run_id == "monday")
            .values(ended_at=datetime(2026, 6, 30, 23, tzinfo=UTC))
        )
    execute_file(ledger, "prune_ledger")
    with ledger.connect() as connection:
        runs = connection.execute(sa.select(LEDGER.reservations.c.run_id)).scalars().all()
        deductions = connection.execute(sa.select(LEDGER.deductions.c.deduction_id)).scalars().all()
    assert ("monday" in runs, len(runs), deductions) == (False, 5, ["kept"])


def test_the_reservations_page_tells_every_column_of_the_ledger() -> None:
    page = (PAGE.parent / "reserve-credit.rst").read_text()
    told = [set(re.findall(r"^ {4}\* - ``(\w+)``", part, re.MULTILINE)) for part in page.split("\n``smspartner_")[1:]]
    tables = (LEDGER.reservations, LEDGER.deductions, LEDGER.accounts)
    assert told == [set(table.columns.keys()) for table in tables]


def test_the_picture_is_what_its_script_draws() -> None:
    spec = spec_from_file_location("draw_balance", PAGE / "draw_balance.py")
    script = module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.picture() == (PAGE / "balance.svg").read_text()
