"""The account's figures, and the one predicate over them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from airflow_provider_smspartner.account import Account, CreditRequirement, Credits, CreditType, User

CREDITS = Credits(
    sms=269082, sms_low_cost=444570, hlr=2045023, to_send=82, balance=Decimal("10225.119"), currency="EUR"
)
UNKNOWN = Credits(sms=None, sms_low_cost=None, hlr=1, to_send=None, balance=None, currency=None)


@pytest.mark.parametrize(
    ("credit_type", "there"), [("sms", 269082), ("sms_low_cost", 444570), ("hlr", 2045023), ("balance", "10225.119")]
)
def test_a_requirement_is_met_from_exactly_its_minimum_on(credit_type: str, there: int | str) -> None:
    assert CreditRequirement(there, credit_type).is_met_by(CREDITS)
    just_more = Decimal(there) + (Decimal("0.000001") if credit_type == "balance" else 1)
    assert not CreditRequirement(just_more, credit_type).is_met_by(CREDITS)


def test_a_balance_is_compared_without_going_through_floats() -> None:
    balance = Decimal("123456789012.123456")
    credits = replace(CREDITS, balance=balance)
    assert CreditRequirement(balance, "balance").is_met_by(credits)
    assert not CreditRequirement("123456789012.123457", "balance").is_met_by(credits)


@pytest.mark.parametrize("credit_type", ["sms", "sms_low_cost", "balance"])
def test_unknown_credit_is_not_enough_even_for_zero_and_is_said_to_be_unknown(credit_type: str) -> None:
    requirement = CreditRequirement(0, credit_type)
    assert not requirement.is_met_by(UNKNOWN)
    assert f"does not report '{credit_type}'" in requirement.describe(UNKNOWN)
    assert "not 0" in requirement.describe(UNKNOWN)


def test_pending_sms_are_subtracted_when_asked_for() -> None:
    assert CreditRequirement(269082, "sms").is_met_by(CREDITS)
    assert not CreditRequirement(269001, "sms", subtract_pending=True).is_met_by(CREDITS)
    assert CreditRequirement(269000, "sms", subtract_pending=True).is_met_by(CREDITS)


def test_an_unknown_number_of_pending_sms_leaves_the_available_ones_unknown() -> None:
    requirement = CreditRequirement(1, "sms", subtract_pending=True)
    credits = replace(CREDITS, to_send=None)
    assert not requirement.is_met_by(credits)
    assert "does not report 'to_send'" in requirement.describe(credits)


def test_a_description_says_what_is_there_and_what_is_needed() -> None:
    assert CreditRequirement(5000).describe(CREDITS) == "269082 sms available, 5000 needed: enough"
    assert (
        CreditRequirement(5000, subtract_pending=True).describe(CREDITS)
        == "269000 sms available (82 pending subtracted), 5000 needed: enough"
    )
    assert (
        CreditRequirement("12.50", "balance").describe(CREDITS)
        == "10225.119 EUR balance available, 12.50 needed: enough"
    )


@pytest.mark.parametrize("minimum", [5000, "5000", " 5000 ", "5000.00", Decimal("5E3")])
def test_a_minimum_may_be_an_int_a_decimal_or_a_string_of_one(minimum: int | str | Decimal) -> None:
    requirement = CreditRequirement(minimum)
    assert requirement.min_credits == 5000
    assert isinstance(requirement.min_credits, int)


@pytest.mark.parametrize(
    ("minimum", "credit_type", "told"),
    [
        (-1, "sms", "from 0"),
        ("-0.01", "balance", "from 0"),
        ("NaN", "balance", "from 0"),
        ("Infinity", "sms", "from 0"),
        ("1e999999999", "sms", "from 0"),
        ("None", "sms", "template"),
        ("", "sms", "not a number"),
        ("12 000", "sms", "not a number"),
        ("0.5", "sms", "whole number"),
        (Decimal("1.5"), "hlr", "whole number"),
        (1.0, "sms", "float"),
        (0.1, "balance", "Decimal"),
        (True, "sms", "bool"),
        (None, "sms", "NoneType"),
    ],
)
def test_a_minimum_that_makes_no_sense_is_refused_with_what_to_write(
    minimum: object, credit_type: str, told: str
) -> None:
    with pytest.raises(ValueError, match="min_credits is ") as refusal:
        CreditRequirement(minimum, credit_type)
    assert told in str(refusal.value)


def test_an_unknown_credit_type_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'sms', 'sms_low_cost', 'hlr', 'balance'"):
        CreditRequirement(1, "creditSms")


@pytest.mark.parametrize("credit_type", ["hlr", "balance"])
def test_pending_sms_cannot_be_subtracted_from_what_is_not_counted_in_sms(credit_type: str) -> None:
    with pytest.raises(ValueError, match="subtract_pending counts SMS"):
        CreditRequirement(1, credit_type, subtract_pending=True)


def test_credits_that_say_nothing_are_no_credits() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Credits(sms=None, sms_low_cost=None, hlr=None, to_send=3, balance=None, currency="EUR")


def test_every_credit_type_names_a_figure_of_the_credits() -> None:
    assert [CREDITS.of(credit_type) for credit_type in CreditType] == [269082, 444570, 2045023, Decimal("10225.119")]


def test_credits_tell_each_figure_and_what_is_unknown() -> None:
    assert str(CREDITS) == "269082 sms, 444570 sms_low_cost, 2045023 hlr, 82 to_send, balance 10225.119 EUR"
    assert str(UNKNOWN) == "unknown sms, unknown sms_low_cost, 1 hlr, unknown to_send, balance unknown"


def test_a_reading_is_json_simple_exact_and_holds_nobody_s_name() -> None:
    user = User("exemple@email.com", "John", "Doe")
    account = Account(user, replace(CREDITS, balance=Decimal("1E+3")), datetime(2026, 7, 1, 12, tzinfo=UTC))
    assert account.reading() == {
        "sms": 269082,
        "sms_low_cost": 444570,
        "hlr": 2045023,
        "to_send": 82,
        "balance": "1000",
        "currency": "EUR",
        "fetched_at": "2026-07-01T12:00:00+00:00",
    }
    assert "exemple" not in repr(account)
