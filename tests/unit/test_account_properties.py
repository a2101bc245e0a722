"""What is asked for and what is there, compared in exact arithmetic of the tests' own."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_smspartner.account import CreditRequirement, Credits, CreditType, exact_credits
from airflow_provider_smspartner.triggers.credits import CreditsTrigger

counts = st.one_of(st.integers(0, 20), st.integers(-(2**63) + 1, 2**63 - 1))
balances = st.decimals(-(10**30), 10**30, places=30, allow_nan=False)
close_balances = st.integers(-20, 20).map(lambda number: Decimal(number).scaleb(-6))
credits_left = st.builds(
    Credits,
    sms=counts,
    sms_low_cost=st.one_of(st.none(), counts),
    hlr=st.one_of(st.none(), counts),
    to_send=st.one_of(st.none(), counts),
    balance=st.one_of(st.none(), balances, close_balances),
    currency=st.sampled_from([None, "EUR"]),
)
credit_types = st.sampled_from(CreditType)
minima = st.one_of(
    st.integers(0, 20),
    st.integers(0, 10**18 - 1),
    st.integers(0, 10**24 - 1).map(lambda number: Decimal(number).scaleb(-6)),
    st.integers(0, 20).map(lambda number: Decimal(number).scaleb(-6)),
)
written = st.one_of(
    st.decimals(allow_nan=True),
    st.builds(Decimal, st.tuples(st.just(0), st.just((0,)), st.integers(-(10**15), 10**15))),
    st.builds(Decimal, st.tuples(st.just(0), st.just((5,)), st.integers(-(10**15), 10**15))),
    st.from_regex(r"\s*[+-]?[0-9_]{1,25}(\.[0-9]{0,9})?([eE][+-]?[0-9]{1,12})?\s*", fullmatch=True),
    st.text(max_size=12),
    st.integers(),
    st.one_of(st.none(), st.booleans(), st.floats()),
)


@given(credits=credits_left, minimum=minima, credit_type=credit_types, pending=st.booleans())
def test_a_requirement_agrees_with_exact_arithmetic_and_its_description_with_both(
    credits: Credits, minimum: int | Decimal, credit_type: CreditType, pending: bool, outcomes: Counter[str]
) -> None:
    pending = pending and credit_type in (CreditType.SMS, CreditType.SMS_LOW_COST)
    if credit_type is not CreditType.BALANCE:
        minimum = int(minimum)
    there, waiting = credits.of(credit_type), credits.to_send if pending else 0
    enough = there is not None and waiting is not None and Fraction(there) - waiting >= Fraction(minimum)

    requirement = CreditRequirement(minimum, credit_type, pending)
    assert requirement.is_met_by(credits) is enough
    assert requirement.describe(credits).endswith(" needed: enough" if enough else " needed: not enough")
    assert ("unknown and not 0" in requirement.describe(credits)) is (there is None or waiting is None)
    outcomes["enough" if enough else "not enough"] += 1


@given(value=written, credit_type=credit_types)
@example(value="0E-9999999", credit_type=CreditType.BALANCE)
@example(value="1E-9999999", credit_type=CreditType.BALANCE)
@example(value="999999999999999999.9999999", credit_type=CreditType.BALANCE)
def test_a_number_of_credits_is_exact_and_short_or_refused(
    value: object, credit_type: CreditType, outcomes: Counter[str]
) -> None:
    try:
        number = exact_credits("min_credits", value, credit_type)
    except ValueError as refusal:
        assert str(refusal).startswith("min_credits is ")  # noqa: PT017 - it may as well be read
        outcomes["refused"] += 1
        return
    outcomes["read"] += 1
    assert isinstance(value, int | Decimal | str | float)
    as_written = Decimal(str(value))
    # A threshold between two counts is the upper one.
    up = 0 if credit_type is CreditType.BALANCE else 1
    assert 0 <= number - as_written <= up
    assert number - as_written < 1
    assert 0 <= number <= 10**18
    assert isinstance(number, Decimal if credit_type is CreditType.BALANCE else int)
    assert Fraction(number) * 10**6 % 1 == 0
    assert len(format(number, "f")) <= max(26, len(str(value)))


@given(minimum=minima, margin=minima, direction=st.sampled_from(["at_least", "below"]))
def test_where_a_watcher_is_armed_again_is_exact_and_survives_the_way_to_the_triggerer(
    minimum: int | Decimal, margin: int | Decimal, direction: str, outcomes: Counter[str]
) -> None:
    given = {"min_credits": minimum, "rearm_margin": margin, "direction": direction, "credit_type": "balance"}
    if direction == "at_least" and margin and margin >= minimum:
        with pytest.raises(ValueError, match="rearm_margin"):
            CreditsTrigger(**given)
        outcomes["refused"] += 1
        return
    trigger = CreditsTrigger(**given)
    sign = 1 if direction == "below" else -1
    assert Fraction(trigger._rearmed) == Fraction(minimum) + sign * Fraction(margin)
    again = CreditsTrigger(**json.loads(json.dumps(trigger.serialize()[1])))
    assert (again.requirement, again.rearm_margin, again._rearmed) == (
        trigger.requirement,
        trigger.rearm_margin,
        trigger._rearmed,
    )
    outcomes["armed"] += 1
