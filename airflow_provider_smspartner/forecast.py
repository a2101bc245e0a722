"""How long credit lasts: consumption, top-ups, gaps and a forecast, from readings of one account. No I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from itertools import pairwise
from statistics import median, stdev

from airflow_provider_smspartner.account import CreditType
from airflow_provider_smspartner.arguments import LONGEST

DAY = timedelta(days=1)
FEWEST_READINGS = 3
SHORTEST = DAY
"""Less time tells of one hour of a working day, or of one night."""
_GAP = 3
"""A step is a gap where it is that many times as long as the median one."""


@dataclass(frozen=True)
class Reading:
    """
    What an account held at one moment.

    :param at: when the API answered, aware, UTC
    :param credit: an amount in ``currency``, or a count
    :param currency: ISO 4217 code; None for a count, or where it is unknown
    """

    at: datetime
    credit: int | Decimal
    currency: str | None = None


def of_one_currency(readings: Sequence[Reading]) -> list[Reading]:
    """Return the readings in order, without those that are known to be in another currency than the last."""
    in_order = sorted(readings, key=lambda reading: reading.at)
    last = next((reading.currency for reading in reversed(in_order) if reading.currency), None)
    return [reading for reading in in_order if reading.currency in {None, last}]


@dataclass(frozen=True)
class Step:
    """Two readings, one after the other. A rise is a top-up of at least that much: what was consumed is taken off."""

    before: Reading
    after: Reading

    @property
    def rise(self) -> Decimal:
        """How much more there is than before; less than 0 where credit was consumed."""
        return Decimal(self.after.credit) - self.before.credit

    @property
    def duration(self) -> timedelta:
        """The time between the two."""
        return self.after.at - self.before.at


@dataclass(frozen=True)
class Forecast:
    """
    When the credit of an account runs out.

    :param credit: the last known credit; None where there is none
    :param known_at: when it was read
    :param measured_days: how much time the rate is measured over; steps with a top-up do not count
    :param per_day: what is consumed per day
    :param per_day_spread: how much that differs from day to day: the standard deviation; None for less than two days
    :param runs_out_at: when the credit is used up at that rate; at most 100 years from ``known_at``
    :param days_left: from now until then, 0 where that is past, one decimal
    :param days_left_least: the same if each day costs one spread more
    :param days_left_most: the same if each day costs one spread less; None where it would then never run out
    :param unknown: why there is no forecast; None where there is one
    """

    smspartner_conn_id: str
    credit_type: CreditType
    credit: int | Decimal | None = None
    currency: str | None = None
    known_at: datetime | None = None
    measured_days: float = 0.0
    per_day: Decimal | None = None
    per_day_spread: Decimal | None = None
    runs_out_at: datetime | None = None
    days_left: float | None = None
    days_left_least: float | None = None
    days_left_most: float | None = None
    unknown: str | None = None

    def as_xcom(self) -> dict[str, str | float | None]:
        """Return the forecast JSON-simple: amounts as exact strings, instants in ISO 8601, days as numbers."""
        return {name: _simple(value) for name, value in vars(self).items()}

    def __str__(self) -> str:
        if self.credit is None:
            return f"unknown: {self.unknown}"
        held = f"{Decimal(self.credit).normalize():f} {self._unit}"
        if self.days_left is None:
            return f"{held}, days left unknown: {self.unknown}"
        spread = "" if self.days_left_least is None else f" ({self.days_left_least:g} to {_told(self.days_left_most)})"
        rate = f"at {self.per_day} a day, measured over {self.measured_days:g} days" if self.per_day else "used up"
        return f"{held}, {self.days_left:g} days left{spread}, {rate}"

    @property
    def _unit(self) -> str:
        return self.currency or self.credit_type.value


@dataclass(frozen=True)
class History:
    """
    The readings of one account over a range of time.

    :param readings: the known ones, in order and in one currency; where the range was read in parts, the last of each
    """

    smspartner_conn_id: str
    credit_type: CreditType
    start: datetime
    end: datetime
    readings: Sequence[Reading]

    @cached_property
    def steps(self) -> list[Step]:
        """Each reading with the next."""
        return [Step(before, after) for before, after in pairwise(self.readings)]

    @property
    def top_ups(self) -> list[Step]:
        """The steps in which the credit rose."""
        return [step for step in self.steps if step.rise > 0]

    @property
    def gaps(self) -> list[tuple[datetime, datetime]]:
        """The times without a reading: much longer than usual, the last one until the end of the range."""
        if len(self.steps) < 2:
            return []
        longest = _GAP * timedelta(seconds=median(step.duration.total_seconds() for step in self.steps))
        moments = [reading.at for reading in self.readings] + [self.end]
        return [(before, after) for before, after in pairwise(moments) if after - before > longest]

    @property
    def consumption_per_day(self) -> dict[date, Decimal]:
        """What was consumed on each day, UTC, at the day of the reading that showed it; unknown days are left out."""
        days: dict[date, Decimal] = {}
        for step in self.steps:
            day = step.after.at.date()
            days[day] = days.get(day, Decimal(0)) + max(-step.rise, Decimal(0))
        return days

    def forecast(self) -> Forecast:
        """Return when the credit runs out at the rate of this history, seen from its end."""
        unknown = Forecast(self.smspartner_conn_id, self.credit_type)
        if not self.readings:
            return replace(unknown, unknown="no known reading in this time")
        last = self.readings[-1]
        known = replace(unknown, credit=last.credit, currency=last.currency, known_at=last.at)
        if last.credit <= 0:
            return replace(known, runs_out_at=last.at, days_left=0.0)
        rate = _Rate.of(self)
        measured = replace(known, measured_days=round(rate.days, 2))
        why = rate.why_unknown(len(self.readings))
        return _at_rate(measured, last, rate, self.end) if why is None else replace(measured, unknown=why)


@dataclass(frozen=True)
class _Rate:
    """
    What is consumed per day.

    :param days: that were measured
    :param spread: of the days' rates; None where fewer than two were measured
    """

    days: float
    consumed: Decimal
    spread: Decimal | None

    @classmethod
    def of(cls, history: History) -> _Rate:
        # A step with a top-up does not show what was consumed in it: it counts neither as consumption nor as time.
        falls = [step for step in history.steps if step.rise <= 0]
        days = sum((step.duration for step in falls), timedelta()) / DAY
        consumed = sum((-step.rise for step in falls), Decimal(0))
        rates = _rates_by_day(falls, history.readings[-1].at) if falls else []
        return cls(days, consumed, Decimal(stdev(rates)) if len(rates) > 1 else None)

    @property
    def per_day(self) -> Decimal:
        return self.consumed / Decimal(self.days)

    def why_unknown(self, readings_count: int) -> str | None:
        if readings_count < FEWEST_READINGS:
            return f"{readings_count} known reading(s) in this time, and a rate takes {FEWEST_READINGS}"
        if self.days < SHORTEST / DAY:
            return f"measured over {self.days:.2f} days, and a rate takes 1"
        if self.consumed == 0:
            return f"nothing was consumed in the {self.days:.2f} days measured"
        return None


def _rates_by_day(falls: Sequence[Step], until: datetime) -> list[Decimal]:
    """Return the rate of each 24 hours before the last reading of which at least half were measured."""
    consumed: defaultdict[int, Decimal] = defaultdict(Decimal)
    measured: defaultdict[int, timedelta] = defaultdict(timedelta)
    for step in falls:
        for day, share in _shares(step, until):
            consumed[day] += -step.rise * Decimal(share / step.duration)
            measured[day] += share
    return [consumed[day] / Decimal(time / DAY) for day, time in measured.items() if time >= DAY / 2]


def _shares(step: Step, until: datetime) -> Iterator[tuple[int, timedelta]]:
    """Yield how much of a step lies in which 24 hours, counted back from ``until``."""
    after = step.after.at
    while after > step.before.at:
        day = (until - after) // DAY
        before = max(step.before.at, until - (day + 1) * DAY)
        yield day, after - before
        after = before


def _at_rate(forecast: Forecast, last: Reading, rate: _Rate, now: datetime) -> Forecast:
    def days_left(per_day: Decimal) -> float | None:
        return None if per_day <= 0 else max(round((_used_up(last, per_day) - now) / DAY, 1), 0.0)

    spread = rate.spread
    return replace(
        forecast,
        per_day=round(rate.per_day, 2),
        per_day_spread=None if spread is None else round(spread, 2),
        runs_out_at=_used_up(last, rate.per_day),
        days_left=days_left(rate.per_day),
        days_left_least=None if spread is None else days_left(rate.per_day + spread),
        days_left_most=None if spread is None else days_left(rate.per_day - spread),
    )


def _used_up(last: Reading, per_day: Decimal) -> datetime:
    days = min(last.credit / per_day, Decimal(LONGEST.days))
    return last.at + timedelta(seconds=round(float(days) * DAY.total_seconds()))


def _simple(value: object) -> str | float | int | None:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, CreditType) else value  # type: ignore[return-value]


def _told(days: float | None) -> str:
    return "never" if days is None else f"{days:g}"
