"""The analysts' queries on each database that can be had: its own translation, and the result that the page shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy.engine import Engine

from airflow_provider_smspartner.exceptions import SMSPartnerError
from tests.analysts import QUERIES, THE_PAGES_MOMENT, ask_translated, promised_everywhere, write, write_example

LARGEST = "999999999999.999999"


@pytest.mark.shows("queries")
def test_each_query_gives_the_result_on_the_page(database: Engine) -> None:
    for _ in range(2):  # a re-run, of which ClickHouse's table keeps both rows for a while
        write_example(database)
    assert {query: ask_translated(database, query) for query in QUERIES} == {
        query: promised_everywhere(query) for query in QUERIES
    }


@pytest.mark.shows("queries")
def test_the_last_30_days_begin_with_what_was_known_before_them(database: Engine) -> None:
    moment, day = datetime.fromisoformat(f"{THE_PAGES_MOMENT}+00:00"), timedelta(days=1)
    before, within = moment - 31 * day, moment - 29 * day
    write(
        database,
        (before - 10 * day, "falls", "500"),
        (before, "falls", "100"),
        (within, "falls", "90"),
        (before - 2 * day, "rises", "1"),
        (before - day, "rises", "5"),
        (before, "rises", None),
        (within, "rises", "12"),
        (before - day, "silent", "7"),
        (before, "silent", "9"),
    )

    def told(query: str, *columns: str) -> list[tuple[object, ...]]:
        return [tuple(row[name] for name in columns) for row in ask_translated(database, query)]

    def hour(at: datetime) -> datetime:
        return at.replace(tzinfo=None, minute=0)

    assert told("consumption_per_day", "smspartner_conn_id", "consumed", "since_utc") == [
        ("falls", 10, before.replace(tzinfo=None)),
        ("rises", 0, (before - day).replace(tzinfo=None)),
    ]
    assert told("top_ups", "smspartner_conn_id", "at_least", "after_utc") == [
        ("rises", 7, (before - day).replace(tzinfo=None))
    ]
    since, until = hour(before) + timedelta(hours=1), hour(moment)
    assert told("gaps", "smspartner_conn_id", "from_utc", "until_utc", "hours") == [
        ("falls", since, hour(within), 47),
        ("rises", since, hour(within), 47),
        ("silent", since, until, 743),
        ("falls", hour(within) + timedelta(hours=1), until, 695),
        ("rises", hour(within) + timedelta(hours=1), until, 695),
    ]


@pytest.mark.shows("queries")
def test_amounts_of_two_currencies_are_never_taken_from_each_other(database: Engine) -> None:
    moment, day = datetime.fromisoformat(f"{THE_PAGES_MOMENT}+00:00"), timedelta(days=1)
    write(database, (moment - 5 * day, "a", "100"), (moment - 4 * day, "a", "60"), (moment - 3.5 * day, "b", "9"))
    write(database, (moment - 3 * day, "a", "500"), (moment - day, "a", "470"), currency="USD")
    write(database, (moment - 2 * day, "a", "490"), (moment - 1.5 * day, "b", "7"), currency=None)
    of_a_day = {
        (row["day_utc"].day, row["smspartner_conn_id"]): (row["consumed"], row["currency"])
        for row in ask_translated(database, "consumption_per_day")
    }
    assert of_a_day == {
        (22, "a"): (40, "EUR"),
        (24, "a"): (10, None),
        (24, "b"): (2, None),
        (25, "a"): (20, "USD"),
    }
    assert ask_translated(database, "top_ups") == []
    left = {row["smspartner_conn_id"]: row["days_left"] for row in ask_translated(database, "days_left")}
    assert left == {"a": Decimal("31.3"), "b": 7}


@pytest.mark.shows("queries")
def test_rates_without_a_time_or_a_fall_are_unknown_and_large_ones_fit(database: Engine) -> None:
    start, micro = datetime(2026, 10, 25, tzinfo=UTC), timedelta(microseconds=1)
    balances = {
        "alone": [(start, "5")],
        "at_once": [(start, "10"), (start, "9")],
        "fast": [(start, LARGEST), (start + micro, "0")],
        "negative": [(start, "1"), (start + timedelta(days=1), "-1")],
        "old": [(start - timedelta(hours=168, seconds=1), "99"), (start - timedelta(hours=168), "9"), (start, "2")],
        "slow": [(start, LARGEST), (start + timedelta(days=7), "999999999999.999998")],
        "steady": [(start, "10"), (start + timedelta(days=1), "10")],
        "unknown": [(start, None)],
    }
    rows = [(at, conn_id, balance) for conn_id, each in balances.items() for at, balance in each]
    if database.dialect.name == "bigquery":
        # Its stand-in casts to three decimals, and then the largest amounts do not fit. BigQuery itself keeps nine.
        with pytest.raises(SMSPartnerError):
            write(database, *rows)
        return
    write(database, *rows)
    left = {row["smspartner_conn_id"]: row["days_left"] for row in ask_translated(database, "days_left")}
    # SQLite's numbers know no millionth beside a million of millions, and its clock no microsecond.
    reckons_with_floats = database.dialect.name == "sqlite"
    assert left == {
        "alone": None,
        "at_once": None,
        "fast": None if reckons_with_floats else Decimal(0),
        "negative": Decimal(0),
        "old": Decimal(2),
        "slow": None
        if reckons_with_floats
        else pytest.approx(Decimal(6_999_999_999_999_999_986), rel=Decimal("1e-12")),
        "steady": None,
    }
    last = {row["smspartner_conn_id"]: row["balance"] for row in ask_translated(database, "last_balance")}
    assert last == {conn_id: each[-1][1] and Decimal(each[-1][1]) for conn_id, each in balances.items()} | {
        "at_once": last["at_once"]
    }
