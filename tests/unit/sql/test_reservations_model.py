"""The ledger's rules, explored: campaigns in every order spend no more than there is, and planted faults are found."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_smspartner.account import CreditType
from airflow_provider_smspartner.reservation import Book, Note, Reservation
from airflow_provider_smspartner.sql import reservations
from airflow_provider_smspartner.sql.reservations import Ledger
from tests.unit.sql.campaigns import HOUR, Campaign, OverspentError, Plan, World, explore
from tests.unit.sql.ledger_in_memory import VisitInMemory

LOW_COST = CreditType.SMS_LOW_COST


def world(*plans: Plan, balance: int = 20, **fields: Any) -> World:
    return World(Decimal(balance), {plan.name: Campaign(plan) for plan in plans}, **fields)


WORLDS: dict[str, Callable[[], World]] = {
    "two campaigns on credit for one": lambda: world(Plan("a", (3, 3)), Plan("b", (3, 3))),
    "three on credit for two": lambda: world(
        Plan("a", (3,), deducts=False), Plan("b", (5,)), Plan("c", (3,), deducts=False), readings=1
    ),
    "one expires": lambda: world(Plan("a", (3, 3)), Plan("b", (6,)), leaps=(HOUR + 1,), crashes=1),
    "one is run again": lambda: world(Plan("a", (3, 3), attempts=2), Plan("b", (4,)), readings=1),
    "one is run again for the rest": lambda: world(
        Plan("a", (3, 3), attempts=2, on_rerun="rest"), Plan("b", (4,)), readings=1
    ),
    "a top-up comes": lambda: world(Plan("a", (3, 3)), Plan("b", (6,)), top_ups=(6,)),
    "two types of credit": lambda: world(Plan("a", (3, 3)), Plan("b", (9,), credit_type=LOW_COST)),
    "debits show late": lambda: world(
        Plan("a", (6,), settles_after=10), Plan("b", (5,), settles_after=10), lag=10, leaps=(5, 5)
    ),
    "debits show late, and one is run again": lambda: world(
        Plan("a", (6,), attempts=2, settles_after=10),
        Plan("b", (4,), settles_after=10, deducts=False),
        lag=10,
        leaps=(10,),
        readings=1,
    ),
    "one takes its turn": lambda: world(
        Plan("a", (4,), deducts=False), Plan("b", (8,), in_turn=True), Plan("c", (2,), deducts=False), readings=1
    ),
    "nobody deducts": lambda: world(Plan("a", (3, 3), deducts=False), Plan("b", (3, 3), deducts=False)),
}


@pytest.mark.parametrize("name", WORLDS)
def test_no_order_of_steps_ends_a_campaign_short(name: str) -> None:
    assert explore(WORLDS[name]()) > 200


def test_no_order_of_steps_leaves_two_holds_of_one_campaign() -> None:
    """A re-run exchanges its hold: the old one ends in the transaction that grants the new one."""

    def held_at_most_once(here: World) -> None:
        held = [of for (of, _), row in here.rows.reservations.items() if row.state == "held"]
        assert len(held) == len(set(held))

    assert explore(WORLDS["one is run again"](), check=held_at_most_once) > 500


FAULTS: dict[str, tuple[str, Callable[[pytest.MonkeyPatch], None]]] = {}


def fault(found_in: str) -> Callable[[Callable[[pytest.MonkeyPatch], None]], None]:
    """Plant a fault, which one of the worlds must find."""

    def add(plant: Callable[[pytest.MonkeyPatch], None]) -> None:
        FAULTS[plant.__name__] = (found_in, plant)

    return add


@fault("two campaigns on credit for one")
def without_a_fence(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reservation, "counted", lambda row, note: row.held)


@fault("two campaigns on credit for one")
def a_deduction_counts_for_readings_before_it(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(VisitInMemory, "_seen_by", lambda visit, note, row: row)


@fault("one expires")
def expiry_by_the_clock_alone(patch: pytest.MonkeyPatch) -> None:
    real = VisitInMemory.book

    def book(visit: VisitInMemory, note: Note, *, whole: bool = True) -> Book:
        rows = [row for row in real(visit, note).rows if not (row.expires_us or HOUR * 99) <= visit.note.at_us]
        return Book(note, visit.note.at_us, tuple(rows))

    patch.setattr(VisitInMemory, "expire", lambda visit: None)
    patch.setattr(VisitInMemory, "book", book)


@fault("one is run again")
def a_late_release_ends_the_new_epoch(patch: pytest.MonkeyPatch) -> None:
    whole = Ledger.release
    patch.setattr(Ledger, "release", lambda ledger, reservation_id, epoch: whole(ledger, reservation_id, None))


@fault("one is run again")
def a_rerun_gets_its_old_hold_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reservations, "_is_same_try", lambda row, request: True)


@fault("one is run again")
def an_overwritten_row_leaves_the_fence(patch: pytest.MonkeyPatch) -> None:
    whole = VisitInMemory.end

    def end(visit: VisitInMemory, row: Reservation, how: str) -> Reservation:
        ended = whole(visit, row, how)
        if how == "exchanged":
            del visit.kept.reservations[row.reservation_id, row.epoch]
        return ended

    patch.setattr(VisitInMemory, "end", end)


@fault("two types of credit")
def types_are_compared_one_by_one(patch: pytest.MonkeyPatch) -> None:
    whole = Book._counted_against
    patch.setattr(
        Book,
        "_counted_against",
        lambda book, request, row: whole(book, request, row) if row.credit_type is request.credit_type else 0,
    )


@fault("debits show late")
def nothing_settles(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reservations, "microseconds", lambda length: 0 if length.total_seconds() < 1 else int(HOUR))


@fault("debits show late, and one is run again")
def an_exchange_forgets_what_its_reading_may_not_show(patch: pytest.MonkeyPatch) -> None:
    whole = Book._counted_against
    patch.setattr(
        Book,
        "_counted_against",
        lambda book, request, row: 0 if row.reservation_id == request.reservation_id else whole(book, request, row),
    )


@fault("two campaigns on credit for one")
def whoever_asks_is_granted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Book, "_counted_against", lambda *_: 0)


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found_in, plant = FAULTS[name]
    plant(monkeypatch)
    with pytest.raises(OverspentError):
        explore(WORLDS[found_in]())
