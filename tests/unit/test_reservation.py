"""The one decision over an account's rows: who is granted, in which order, in which unit, against which reading."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_smspartner.account import CreditRequirement, Credits, CreditType
from airflow_provider_smspartner.exceptions import SMSPartnerArgumentError
from airflow_provider_smspartner.reservation import (
    Book,
    Note,
    Request,
    Reservation,
    Verdict,
    instant,
    microseconds,
    price_of,
    reservation_id,
)

NOW = 1_000_000
NOTE = Note("the table", 50, NOW - 10)
"""Of a reading that was taken a moment ago, at version 50."""


def credits(sms: int | None = 100, **figures: Any) -> Credits:
    told = {"sms_low_cost": None, "hlr": None, "to_send": 0, "balance": Decimal(100), "currency": "EUR"} | figures
    return Credits(sms=sms, **told)


def waiting(name: str, amount: int | Decimal = 10, version: int = 10, **fields: Any) -> Reservation:
    told: dict[str, Any] = {"credit_type": CreditType.SMS, "seen_until_us": NOW + 5} | fields
    return Reservation(name, 1, "a", "a", asked=amount, amount=amount, requested_version=version, **told)


def held(name: str, amount: int | Decimal = 10, version: int = 5, **fields: Any) -> Reservation:
    told = {"granted_version": version, "price": Decimal(1), "currency": "EUR"} | fields
    return waiting(name, amount, version, **told)


def ended(name: str, amount: int = 10, **fields: Any) -> Reservation:
    told = {"ended_version": 40, "settled_us": NOW - 20, "ended_how": "released"} | fields
    return held(name, amount, **told)


def weigh(request: Reservation, *rows: Reservation, credits: Credits = credits()) -> Verdict:  # noqa: B008  # frozen
    return Book(NOTE, NOW, (*rows, request)).weigh(request, credits)


def called(*rows: Reservation, sms: int = 100) -> list[str]:
    found = Book(NOTE, NOW, rows).callable(credits(sms, balance=Decimal(sms)), [row.reservation_id for row in rows])
    return [row.reservation_id for row in found]


# What counts against a reading


@pytest.mark.parametrize(
    ("row", "counts"),
    [
        (held("before the reading"), 10),
        (held("after it", version=51), 10),
        (held("a part of it sent, which the reading shows", deducted=4), 6),
        (held("a part of it sent since", deducted=4, unseen=4), 10),
        (held("more deducted than it held", deducted=14), 0),
        (held("more deducted than it held, some of it since", deducted=14, unseen=8), 4),
        (ended("before the reading"), 0),
        (ended("in the very version of the note", ended_version=50), 0),
        (ended("after it", ended_version=51), 10),
        (ended("granted and ended after it", version=51, ended_version=52), 10),
        (ended("expired after it", ended_version=51, ended_how="expired"), 10),
        (ended("released, and its debits may not show yet", settled_us=NOW), 10),
        (ended("released, its debits show by now", settled_us=NOW - 10), 0),
        (ended("its rest exchanged for a newer epoch", ended_how="exchanged", settled_us=NOW, deducted=4, unseen=3), 3),
        (waiting("nothing yet"), 0),
    ],
    ids=lambda told: told.reservation_id if isinstance(told, Reservation) else "",
)
def test_a_hold_counts_as_far_as_the_reading_may_not_show_it_as_spent(row: Reservation, counts: int) -> None:
    assert row.counted(NOTE) == counts
    assert weigh(waiting("me", 100 - counts), row).is_granted
    assert not weigh(waiting("me", 101 - counts), row).is_granted


def test_a_rerun_is_not_refused_for_what_it_holds_itself() -> None:
    """It exchanges its hold for a new one."""
    again = replace(waiting("me", 80), epoch=2)
    assert weigh(again, held("me", 80)).is_granted
    assert not weigh(again, held("somebody else", 80)).is_granted


def test_a_rerun_waits_until_a_reading_shows_what_its_dead_sender_spent() -> None:
    old = held("me", 80, settles_after_us=100)
    for requested_us, is_granted in ((NOTE.at_us - 99, False), (NOTE.at_us - 100, True)):
        again = replace(waiting("me", 80), epoch=2, requested_at=instant(requested_us))
        assert weigh(again, old).is_granted is is_granted


# The order


def test_whoever_fits_overtakes_one_that_does_not() -> None:
    assert weigh(waiting("small", 10, version=20), waiting("giant", 500, version=10)).is_granted


def test_nobody_overtakes_one_that_waits_in_turn() -> None:
    giant = waiting("giant", 500, version=10, in_turn=True)
    verdict = weigh(waiting("small", 10, version=20), giant)
    assert (verdict.is_granted, verdict.ahead, verdict.place) == (False, 500, 2)


def test_what_is_left_behind_one_that_waits_in_turn_is_free() -> None:
    assert weigh(waiting("small", 10, version=20), waiting("first", 90, version=10, in_turn=True)).is_granted
    assert not weigh(waiting("small", 11, version=20), waiting("first", 90, version=10, in_turn=True)).is_granted


def test_two_that_wait_in_turn_do_not_wait_for_each_other() -> None:
    first, second = waiting("first", 60, version=10, in_turn=True), waiting("second", 60, version=20, in_turn=True)
    assert weigh(first, second).is_granted
    assert not weigh(second, first).is_granted


def test_a_higher_priority_comes_before_whoever_came_first() -> None:
    urgent, first = waiting("urgent", 60, 20, priority=1, in_turn=True), waiting("first", 60, 10, in_turn=True)
    assert weigh(urgent, first).is_granted
    assert not weigh(first, urgent).is_granted


def test_a_called_gate_has_its_credit_kept_from_those_behind_it_alone() -> None:
    coming = waiting("called", 60, version=20, called_until_us=NOW + 1)
    assert not weigh(waiting("behind", 60, version=30), coming).is_granted
    assert weigh(waiting("ahead", 60, version=10), coming).is_granted
    assert weigh(coming, waiting("behind", 60, version=30)).is_granted


@pytest.mark.parametrize("gone", [{"seen_until_us": NOW}, {"seen_until_us": NOW, "called_until_us": NOW}], ids=str)
def test_one_that_nobody_waits_for_any_more_is_passed_over(gone: dict[str, int]) -> None:
    dead = waiting("dead", 60, version=10, in_turn=True, **gone)
    verdict = weigh(waiting("me", 60, version=20), dead)
    assert (verdict.is_granted, verdict.place) == (True, 1)
    assert called(dead, waiting("me", 60, version=20)) == ["me"]


def test_a_called_gate_that_nobody_has_seen_since_keeps_its_place_until_its_time_to_come_is_over() -> None:
    slow = waiting("slow", 60, version=10, seen_until_us=NOW - 5, called_until_us=NOW + 1)
    assert not weigh(waiting("me", 60, version=20), slow).is_granted


# Who is called


def test_as_many_are_called_as_can_be_granted_in_their_order() -> None:
    rows = [waiting(f"gate {number}", 30, version=number) for number in (4, 1, 3, 2, 5)]
    assert called(*rows) == ["gate 1", "gate 2", "gate 3"]


def test_one_that_is_called_already_is_not_called_again_and_takes_its_share() -> None:
    rows = [waiting("called", 60, 1, called_until_us=NOW + 9), waiting("small", 40, 2), waiting("third", 1, 3)]
    assert called(*rows) == ["small"]


def test_only_those_are_called_that_wait_here() -> None:
    """Another triggerer has the others."""
    rows = waiting("here", 60, 2), waiting("elsewhere", 60, 1)
    found = Book(NOTE, NOW, rows).callable(credits(), ["here"])
    assert [row.reservation_id for row in found] == ["here"]


CREDIT_TYPES = st.sampled_from([CreditType.SMS, CreditType.SMS, CreditType.SMS_LOW_COST, CreditType.BALANCE])


@st.composite
def books(draw: st.DrawFn) -> tuple[Reservation, ...]:
    """Draw the rows of an account, of which some hold, some wait, and some were called."""
    rows = []
    for number in range(draw(st.integers(1, 7))):
        told: dict[str, Any] = {
            "credit_type": draw(CREDIT_TYPES),
            "priority": draw(st.integers(0, 1)),
            "in_turn": draw(st.booleans()),
            "seen_until_us": draw(st.sampled_from([NOW - 1, NOW + 5, NOW + 5])),
        }
        told["subtract_pending"] = told["credit_type"] is CreditType.SMS and draw(st.booleans())
        make = draw(st.sampled_from([waiting, waiting, waiting, held]))
        if make is waiting:
            told["called_until_us"] = draw(st.sampled_from([None, None, NOW + 9]))
        rows.append(make(f"row {number}", draw(st.integers(1, 60)), number + 1, **told))
        if make is held and draw(st.booleans()):  # a re-run, which would exchange it
            rows.append(replace(waiting(f"row {number}", draw(st.integers(1, 60)), number + 20), epoch=2))
    return tuple(rows)


@given(rows=books(), balance=st.integers(0, 150), to_send=st.sampled_from([0, 7, None]))
def test_those_are_called_that_would_be_granted_one_after_the_other(
    rows: tuple[Reservation, ...], balance: int, to_send: int | None
) -> None:
    shown = Credits(balance, balance * 2, None, to_send, Decimal(balance), "EUR")
    ids = {row.reservation_id for row in rows}
    one_by_one, book = [], Book(NOTE, NOW, rows)
    for row in sorted((row for row in rows if row.is_alive(NOW)), key=Reservation.place):
        if not row.is_called(NOW) and book.weigh(row, shown).is_granted:
            one_by_one.append(row)
            now_called = tuple(replace(each, called_until_us=NOW + 9) if each is row else each for each in book.rows)
            book = Book(NOTE, NOW, now_called)
    assert Book(NOTE, NOW, rows).callable(shown, ids) == one_by_one


# Units


def test_one_type_alone_is_compared_in_its_counts() -> None:
    """So that no balance is needed, and no price rounded."""
    verdict = weigh(waiting("me", 40), held("other", 60), credits=credits(100, balance=None))
    assert (verdict.unit, verdict.is_granted, verdict.free) == ("sms", True, 40)


@pytest.mark.parametrize(
    "other",
    [
        held("other", 120, credit_type=CreditType.SMS_LOW_COST, price=Decimal("0.5")),
        held("other", Decimal(60), credit_type=CreditType.BALANCE, price=None),
        waiting("other", Decimal(60), version=1, credit_type=CreditType.BALANCE, in_turn=True),
    ],
    ids=["another count", "an amount", "one ahead that waits in turn"],
)
def test_two_types_are_compared_in_money(other: Reservation) -> None:
    for amount, is_granted in ((40, True), (41, False)):
        verdict = weigh(waiting("me", amount), other)
        assert (verdict.unit, verdict.is_granted) == ("EUR", is_granted)


def test_a_price_is_rounded_up() -> None:
    assert price_of(CreditType.SMS, credits(3, balance=Decimal(1))) == Decimal("0.333334")
    assert price_of(CreditType.SMS, credits(0, balance=Decimal(1))) is None
    assert price_of(CreditType.SMS, credits(3, balance=None)) is None
    assert price_of(CreditType.BALANCE, credits(3)) is None


@pytest.mark.parametrize(("count", "counts"), [(100, 60), (99, 60), (50, 120)])
def test_a_price_that_has_risen_counts_as_it_is_today(count: int, counts: int) -> None:
    """A price of 1 is within 100/(99 + 1), and not within 100/(50 + 1)."""
    verdict = weigh(
        waiting("me", Decimal(1), credit_type=CreditType.BALANCE), held("other", 60), credits=credits(count)
    )
    assert verdict.others == counts


def test_a_price_that_has_fallen_counts_as_it_was_at_the_grant() -> None:
    verdict = weigh(waiting("me", Decimal(1), credit_type=CreditType.BALANCE), held("other", 60), credits=credits(200))
    assert verdict.others == 60


@pytest.mark.parametrize(
    ("shown", "unknown"),
    [
        (credits(balance=None), "the account's figures imply no price of 'sms'"),
        (credits(currency="USD"), "credit is held in EUR, and the account reports USD"),
        (credits(currency=None), "credit is held in EUR, and the account reports no currency"),
        (credits(sms=0), "the account's figures imply no price of 'sms'"),
    ],
    ids=lambda told: told if isinstance(told, str) else "",
)
def test_what_nobody_can_compare_is_not_yet_and_says_why(shown: Credits, unknown: str) -> None:
    verdict = weigh(waiting("me", 10), held("other", Decimal(1), credit_type=CreditType.BALANCE), credits=shown)
    assert (verdict.is_granted, verdict.free) == (False, None)
    assert str(verdict) == f"{unknown}; 10 sms needed: place 1 in the queue"


def test_a_count_that_is_not_reported_is_unknown_and_no_credit() -> None:
    verdict = weigh(waiting("me", 1), credits=credits(sms=None))
    assert not verdict.is_granted
    assert str(verdict).startswith("the account does not report 'sms', which is unknown and not 0")


# What is pending


@pytest.mark.parametrize(
    "who",
    [
        held("other", 10, subtract_pending=True),
        waiting("other", 10, version=90, subtract_pending=True),
        None,
    ],
    ids=["one that holds", "one that waits behind", "the one that asks"],
)
def test_if_one_gate_of_an_account_subtracts_what_is_pending_all_do(who: Reservation | None) -> None:
    others = [] if who is None else [who]
    me = waiting("me", 90, subtract_pending=who is None)
    assert weigh(me, *others, credits=credits(100)).holds == 100
    verdict = weigh(me, *others, credits=credits(100, to_send=25))
    assert (verdict.holds, verdict.is_granted) == (75, False)


@pytest.mark.parametrize(
    "gone",
    [ended("gone", subtract_pending=True), waiting("gone", subtract_pending=True, seen_until_us=NOW)],
    ids=["ended", "dead"],
)
def test_one_that_is_gone_has_nothing_subtracted_any_more(gone: Reservation) -> None:
    assert weigh(waiting("me", 90), gone, credits=credits(100, to_send=25)).holds == 100


def test_what_is_pending_is_subtracted_from_an_amount_at_the_highest_price_that_it_may_have() -> None:
    cheap = waiting("cheap", 1, 90, credit_type=CreditType.SMS_LOW_COST, subtract_pending=True)
    shown = credits(100, sms_low_cost=200, to_send=10)
    money = waiting("me", Decimal(95), credit_type=CreditType.BALANCE)
    assert weigh(money, cheap, credits=shown).holds == 95
    assert weigh(money, cheap, held("dear", 1, subtract_pending=True), credits=shown).holds == 90


def test_a_look_up_is_compared_in_money_where_sms_are_pending() -> None:
    hlr = waiting("me", 10, credit_type=CreditType.HLR)
    verdict = weigh(hlr, waiting("sms", 1, 90, subtract_pending=True), credits=credits(100, hlr=1_000, to_send=10))
    assert (verdict.unit, verdict.holds, verdict.needed) == ("EUR", 90, 1)


@pytest.mark.parametrize(
    ("shown", "unknown"),
    [
        (credits(to_send=None), "the account does not report 'to_send'"),
        (credits(sms=0, to_send=3), "SMS are pending, and the account's figures imply no price of them"),
    ],
)
def test_pending_sms_of_unknown_number_or_price_are_not_yet(shown: Credits, unknown: str) -> None:
    money = waiting("me", Decimal(1), credit_type=CreditType.BALANCE)
    verdict = weigh(money, waiting("sms", 1, 90, subtract_pending=True), credits=shown)
    assert (verdict.is_granted, str(verdict).startswith(unknown)) == (False, True)


# What people read


def test_a_refusal_tells_what_is_there_who_has_it_and_the_place_in_the_queue() -> None:
    verdict = weigh(waiting("me", 60, 20), held("other", 30), waiting("first", 20, 10, in_turn=True))
    assert str(verdict) == (
        "the account holds 100 sms, other campaigns hold 30, 20 are kept for gates ahead, 50 are free, "
        "60 needed: not enough, place 2 in the queue"
    )


# Requests and ids


def test_no_two_gates_share_an_id() -> None:
    """Also where their names, joined, read the same."""
    told = [
        reservation_id("c", "a.b", "c", "run", -1),
        reservation_id("c", "a", "b.c", "run", -1),
        reservation_id("c", "a", "b.c", "run", 0),
        reservation_id("d", "a", "b.c", "run", 0),
        reservation_id("c", holder="a"),
        reservation_id("c", "a"),
    ]
    assert len(set(told)) == len(told)
    assert told[0] == "c4bbe460-e7b4-57e3-a974-89c67a412ce9"  # for ever: another one would miss its own hold


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"requirement": CreditRequirement(0)}, "min_credits is 0: a reservation of nothing holds nothing: use more"),
        ({"hold_for": timedelta(0)}, "hold_for is 0:00:00: use a time above 0"),
        ({"settles_after": timedelta(seconds=-1)}, "settles_after is -1 day, 23:59:59: use a time of 0 or more"),
        ({"on_rerun": "all"}, "on_rerun is all: use 'whole' or 'rest'"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(fields: dict[str, Any], says: str) -> None:
    asked: dict[str, Any] = {"requirement": CreditRequirement(1), "hold_for": timedelta(1)} | fields
    with pytest.raises(SMSPartnerArgumentError, match=f"^{says}"):
        Request("account", "conn", **asked)


@pytest.mark.parametrize("us", [0, 1, 1_764_124_800_000_001, 253_402_300_799_999_999])
def test_an_instant_is_exact_to_the_microsecond(us: int) -> None:
    assert microseconds(instant(us)) == us


def test_what_a_task_hands_on_is_json_with_exact_text() -> None:
    row = held("id", Decimal("12.50"), credit_type=CreditType.BALANCE, deducted=Decimal("2.10"))
    assert json.loads(json.dumps(row.as_xcom())) == {"reservation_id": "id", "epoch": 1, "held": "10.4"}
