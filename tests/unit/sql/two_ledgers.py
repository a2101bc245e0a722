"""The same random steps on a database and on the rows in memory that the model explores: nothing may differ."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from airflow_provider_smspartner.account import CreditRequirement, Credits, CreditType
from airflow_provider_smspartner.exceptions import SMSPartnerConfigurationError
from airflow_provider_smspartner.reservation import Note, Request, instant
from airflow_provider_smspartner.sql.reservation_visits import Visits
from airflow_provider_smspartner.sql.reservations import Ledger
from tests.unit.sql.ledger_in_memory import Rows, VisitsInMemory

ACCOUNT = "account"
HOLDERS = ("a", "b", "c", "d")
BEGIN_US = 1_764_124_800_000_000
CLOCK = "SELECT told FROM clock"
"""In place of the database's clock: one that stands still until it is put forward."""

Act = Callable[[Ledger, list[Note]], Any]


class TwoLedgers:
    """
    A ledger on a database, whose clock is a table, and one in memory.

    :param engine: of an empty database, whose clock ``CLOCK`` stands in for
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._rows = Rows(now_us=BEGIN_US)
        in_memory: Any = VisitsInMemory(self._rows)
        self._ledgers = Ledger(Visits(engine, "reservations")), Ledger(in_memory)
        self._notes: tuple[list[Note], list[Note]] = [], []
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE clock (told VARCHAR(40))"))
            connection.execute(sa.text("INSERT INTO clock VALUES (:told)"), {"told": self._now()})

    def leap(self, us: int) -> None:
        """Put both clocks forward."""
        self._rows.now_us += us
        with self._engine.begin() as connection:
            connection.execute(sa.text("UPDATE clock SET told = :told"), {"told": self._now()})

    def do(self, act: Act) -> tuple[Any, Any]:
        """Do the same on both; return what came of it."""
        before = self._rows.copy()
        here, there = (_outcome(act, ledger, notes) for ledger, notes in zip(self._ledgers, self._notes, strict=True))
        if isinstance(there, str):  # refused, for which a database rolls the visit back
            vars(self._rows).update(vars(before))
        return here, there

    def rows(self) -> tuple[Any, Any]:
        """Return all that both keep."""
        here, there = (ledger.reservations(active=False) for ledger in self._ledgers)
        return _sorted(here), _sorted(there)

    def _now(self) -> str:
        return instant(self._rows.now_us).isoformat(timespec="microseconds")


def random_steps(seed: int, count: int) -> Iterator[Act | int]:
    """Yield what campaigns do, in any order, and microseconds that pass."""
    chance = random.Random(seed)
    yield _note
    for _ in range(count):
        yield chance.choice(
            [_grant, _grant, _grant, _deduct, _deduct, _release, _extend, _poll, _call, _time, _new_note]
        )(chance)


def _outcome(act: Act, ledger: Ledger, notes: list[Note]) -> Any:
    try:
        return act(ledger, notes)
    except SMSPartnerConfigurationError as error:
        return str(error)


def _sorted(rows: Any) -> Any:
    return sorted(rows, key=lambda row: (row.reservation_id, row.epoch))


def _note(ledger: Ledger, notes: list[Note]) -> Any:
    notes.append(ledger.note(ACCOUNT))
    return notes[-1].version, notes[-1].at_us


def _new_note(_: random.Random) -> Act:
    return _note


def _time(chance: random.Random) -> int:
    return chance.choice([1, 10, 1_000, 3_000_000])


def _id(chance: random.Random) -> str:
    return _request(chance.choice(HOLDERS), 1).reservation_id


def _request(holder: str, amount: Any, credit_type: CreditType = CreditType.SMS, **told: Any) -> Request:
    asked: dict[str, Any] = {"hold_for": timedelta(seconds=2)} | told
    return Request(ACCOUNT, "conn", CreditRequirement(amount, credit_type), holder=holder, **asked)


def _credits(chance: random.Random) -> Credits:
    balance = Decimal(chance.randint(20, 120))
    return Credits(int(balance), int(balance) * 2, None, chance.choice([0, 0, 5]), balance, "EUR")


def _grant(chance: random.Random) -> Act:
    credit_type = chance.choice([CreditType.SMS, CreditType.SMS, CreditType.SMS_LOW_COST, CreditType.BALANCE])
    request = _request(
        chance.choice(HOLDERS),
        chance.choice([10, 30]),
        credit_type,
        attempt=chance.choice("12"),
        priority=chance.choice([0, 0, 1]),
        in_turn=chance.random() < 0.2,
        on_rerun=chance.choice(["whole", "rest"]),
        settles_after=timedelta(microseconds=chance.choice([0, 100])),
        seen_for=timedelta(microseconds=chance.choice([0, 50, 5_000_000])),
    )
    credits, age = _credits(chance), chance.choice([1, 1, 1, 2, 4])

    def grant(ledger: Ledger, notes: list[Note]) -> Any:
        outcome = ledger.grant(request, credits, notes[-min(age, len(notes))])
        verdict = outcome.verdict
        if verdict is not None and verdict.is_granted:  # whose place in the queue nobody is told
            verdict = replace(verdict, place=0)
        return outcome.reservation, verdict, outcome.run_holds

    return grant


def _deduct(chance: random.Random) -> Act:
    reservation_id, epoch, key = _id(chance), chance.choice([None, 1, 2]), chance.choice("kl")
    amount = chance.choice([3, 3, 3, 4])
    return lambda ledger, _: ledger.deduct(reservation_id, epoch, key, amount)


def _release(chance: random.Random) -> Act:
    reservation_id, epoch, attempt = _id(chance), chance.choice([None, 1, 2]), chance.choice([None, "1"])
    return lambda ledger, _: ledger.release(reservation_id, epoch, attempt=attempt)


def _extend(chance: random.Random) -> Act:
    reservation_id, epoch = _id(chance), chance.choice([None, 1])
    return lambda ledger, _: ledger.extend(reservation_id, epoch, timedelta(seconds=4))


def _poll(chance: random.Random) -> Act:
    ids, seen_for = {_id(chance), _id(chance)}, timedelta(microseconds=chance.choice([20, 5_000_000]))

    def poll(ledger: Ledger, _: list[Note]) -> Any:
        book = ledger.poll(ACCOUNT, ids, seen_for)
        return [row for row in _sorted(book.rows) if row.state != "ended"]

    return poll


def _call(chance: random.Random) -> Act:
    ids, credits = {_id(chance), _id(chance), _id(chance)}, _credits(chance)
    return lambda ledger, notes: ledger.call(ACCOUNT, ids, credits, notes[-1], timedelta(microseconds=60))
