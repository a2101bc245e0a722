from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from airflow_provider_smspartner.account import CreditType
from airflow_provider_smspartner.forecast import Forecast, History, Reading, of_one_currency

END = datetime(2026, 7, 8, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def history(*credit: str | int, every: timedelta = HOUR, until: datetime = END, end: datetime = END) -> History:
    """Return a history with the last reading at ``until``."""
    first = until - (len(credit) - 1) * every
    amounts = [each if isinstance(each, int) else Decimal(each) for each in credit]
    readings = [Reading(first + number * every, amount, "EUR") for number, amount in enumerate(amounts)]
    return History("shop", CreditType.BALANCE, end - timedelta(days=7), end, readings)


def test_credit_that_falls_evenly_runs_out_when_it_is_used_up_at_that_rate() -> None:
    forecast = history(*[str(100 - day) for day in range(8)], every=timedelta(days=1)).forecast()
    assert forecast == Forecast(
        "shop",
        CreditType.BALANCE,
        credit=Decimal(93),
        currency="EUR",
        known_at=END,
        measured_days=7.0,
        per_day=Decimal("1.00"),
        per_day_spread=Decimal("0.00"),
        runs_out_at=END + timedelta(days=93),
        days_left=93.0,
        days_left_least=93.0,
        days_left_most=93.0,
    )


def test_a_step_with_a_top_up_counts_neither_as_consumption_nor_as_time() -> None:
    forecast = history("100", "98", "148", "146", "144", every=timedelta(days=1)).forecast()
    assert (forecast.measured_days, forecast.per_day, forecast.days_left) == (3.0, Decimal("2.00"), 72.0)


@pytest.mark.parametrize(
    ("currencies", "left"),
    [
        (["USD", "USD", "EUR", "EUR"], [2, 3]),
        (["EUR", "USD", "EUR", None], [0, 2, 3]),
        (["EUR", None, None, None], [0, 1, 2, 3]),
        ([None, None], [0, 1]),
        ([], []),
    ],
)
def test_what_is_known_to_be_in_another_currency_than_the_last_is_left_out(
    currencies: list[str | None], left: list[int]
) -> None:
    readings = [Reading(END + number * HOUR, Decimal(number), each) for number, each in enumerate(currencies)]
    assert of_one_currency(readings[::-1]) == [readings[number] for number in left]


def test_days_that_differ_are_told_as_a_spread() -> None:
    forecast = history("100", "90", "90", "60", every=timedelta(days=1)).forecast()
    assert forecast.per_day == Decimal("13.33")
    assert forecast.per_day_spread == Decimal("15.28")
    assert (forecast.days_left_least, forecast.days_left, forecast.days_left_most) == (2.1, 4.5, None)


def test_a_long_step_is_shared_out_among_its_days() -> None:
    even = history("100", "96", "95", every=timedelta(days=2)).forecast()
    assert even.per_day_spread == Decimal("0.87")  # of 2, 2, 0.5 and 0.5 a day


@pytest.mark.parametrize(
    ("credit", "told"),
    [
        ((), "no known reading in this time"),
        (("100",), "1 known reading(s) in this time, and a rate takes 3"),
        (("100", "50"), "2 known reading(s) in this time, and a rate takes 3"),
        (("100", "90", "80"), "measured over 0.08 days, and a rate takes 1"),
        (("1", "2", "3", "4"), "measured over 0.00 days, and a rate takes 1"),
        (("5",) * 49, "nothing was consumed in the 2.00 days measured"),
    ],
)
def test_without_enough_to_go_by_there_is_no_forecast_but_the_reason(credit: tuple[str, ...], told: str) -> None:
    forecast = history(*credit).forecast()
    assert (forecast.unknown, forecast.days_left, forecast.runs_out_at) == (told, None, None)
    assert told in str(forecast)


@pytest.mark.parametrize("credit", ["0", "-3.5"])
def test_credit_that_is_used_up_needs_no_rate(credit: str) -> None:
    forecast = history("100", credit).forecast()
    assert (forecast.days_left, forecast.runs_out_at, forecast.unknown) == (0.0, END, None)


def test_days_are_counted_from_now_and_not_from_the_last_reading() -> None:
    credit = [str(10 - day) for day in range(4)]
    for late, left in ((timedelta(0), 7.0), (timedelta(days=2), 5.0), (timedelta(days=8), 0.0)):
        forecast = history(*credit, every=timedelta(days=1), until=END, end=END + late).forecast()
        assert (forecast.runs_out_at, forecast.days_left) == (END + timedelta(days=7), left)


def test_what_lasts_for_ages_ends_after_a_hundred_years() -> None:
    forecast = history("999999999999", "999999999999", "999999999998.999999", every=timedelta(days=1)).forecast()
    assert forecast.days_left == 36_500.0


def test_a_count_is_foreseen_like_an_amount() -> None:
    forecast = history(30, 20, 10, every=timedelta(days=1)).forecast()
    assert (forecast.credit, forecast.per_day, forecast.days_left) == (10, Decimal("10.00"), 1.0)


def test_an_xcom_holds_amounts_as_exact_strings_and_days_as_numbers() -> None:
    told = history("100", "90.5", "80.000001", every=timedelta(days=1)).forecast().as_xcom()
    assert json.loads(json.dumps(told)) == told
    assert (told["credit"], told["credit_type"], told["known_at"]) == ("80.000001", "balance", END.isoformat())
    assert (told["per_day"], told["days_left"]) == ("10.00", 8.0)
    assert set(Forecast("shop", CreditType.SMS, unknown="why").as_xcom()) == set(told)


def test_a_log_line_says_what_is_held_how_long_it_lasts_and_how_sure_that_is() -> None:
    told = str(history("100", "90", "86", every=timedelta(days=1)).forecast())
    assert told == "86 EUR, 12.3 days left (7.6 to 31.2), at 7.00 a day, measured over 2 days"
    assert str(history("100", "0").forecast()) == "0 EUR, 0 days left, used up"


def test_top_ups_gaps_and_what_a_day_consumed() -> None:
    readings = [
        Reading(datetime(2026, 7, 1, hour, tzinfo=UTC), Decimal(credit))
        for hour, credit in ((0, 10), (1, 9), (2, 7), (3, 50), (4, 50), (20, 40))
    ]
    readings.append(Reading(datetime(2026, 7, 2, 0, 30, tzinfo=UTC), Decimal(39)))
    end = datetime(2026, 7, 2, 6, tzinfo=UTC)
    seen = History("shop", CreditType.BALANCE, readings[0].at, end, readings)
    assert [(step.after.at.hour, step.rise) for step in seen.top_ups] == [(3, 43)]
    assert seen.consumption_per_day == {date(2026, 7, 1): Decimal(13), date(2026, 7, 2): Decimal(1)}
    assert [(start.hour, until.hour) for start, until in seen.gaps] == [(4, 20), (20, 0), (0, 6)]
    assert History("shop", CreditType.BALANCE, end, end, readings[:2]).gaps == []
