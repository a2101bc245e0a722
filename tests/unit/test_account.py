"""The account's figures, and the one predicate over them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from numbers import Integral, Real
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_smspartner.account import Account, CreditRequirement, Credits, CreditType, User
from airflow_provider_smspartner.exceptions import SMSPartnerArgumentError, SMSPartnerConfigurationError
from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook
from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from tests.airflow_versions import serialize_for_xcom

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


@pytest.mark.parametrize("asked", [True, "True", "true"])
def test_pending_sms_are_subtracted_when_asked_for_even_by_a_template(asked: Any) -> None:
    assert not CreditRequirement(269001, "sms", asked).is_met_by(CREDITS)
    assert CreditRequirement(269001, "sms", "False").is_met_by(CREDITS)


def test_pending_sms_are_subtracted_when_asked_for() -> None:
    assert CreditRequirement(269082, "sms").is_met_by(CREDITS)
    assert not CreditRequirement(269001, "sms", subtract_pending=True).is_met_by(CREDITS)
    assert CreditRequirement(269000, "sms", subtract_pending=True).is_met_by(CREDITS)


def test_what_is_missing_is_0_where_it_is_enough_and_unknown_where_that_is() -> None:
    assert [CreditRequirement(least, "sms").missing(CREDITS) for least in (269082, 269083)] == [0, 1]
    assert CreditRequirement(269001, "sms", subtract_pending=True).missing(CREDITS) == 1
    assert CreditRequirement(1, "sms").missing(UNKNOWN) is None


def test_an_unknown_number_of_pending_sms_leaves_the_available_ones_unknown() -> None:
    requirement = CreditRequirement(1, "sms", subtract_pending=True)
    credits = replace(CREDITS, to_send=None)
    assert not requirement.is_met_by(credits)
    assert "does not report 'to_send'" in requirement.describe(credits)


def test_pending_sms_subtracted_from_unknown_credit_leave_it_unknown() -> None:
    requirement = CreditRequirement(0, "sms", subtract_pending=True)
    credits = replace(UNKNOWN, to_send=3)
    assert not requirement.is_met_by(credits)
    assert "does not report 'sms'" in requirement.describe(credits)


@pytest.mark.parametrize(
    ("name", "requirement"),
    [
        ("sms", CreditRequirement(1)),
        ("balance", CreditRequirement(1, "balance")),  # type: ignore[arg-type]
        ("to_send", CreditRequirement(1, subtract_pending=True)),
    ],
)
def test_credit_that_is_there_and_cannot_be_read_is_not_said_to_be_missing(
    name: str, requirement: CreditRequirement
) -> None:
    credits = replace(CREDITS, **{name: None}, unreadable={name: "asTheApiNamesIt"})  # type: ignore[arg-type]
    assert not requirement.is_met_by(credits)
    assert requirement.describe(credits) == (
        "the account reports 'asTheApiNamesIt', but not as a plain number: unknown, and not 0; 1 needed: not enough"
    )


def test_what_cannot_be_read_changes_no_reading_and_no_comparison() -> None:
    credits = replace(UNKNOWN, unreadable={"sms": "creditSms"})
    account = Account(User(None, None, None), credits, datetime.now(UTC))
    assert credits == UNKNOWN
    assert repr(credits) == repr(UNKNOWN)
    assert account.reading() == replace(account, credits=UNKNOWN).reading()
    assert "does not report 'sms'" in Credits.from_reading(account.reading()).why_unknown("sms")


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


class NumpyLikeInt:
    """What a data frame's ``sum`` returns: a whole number by its protocol, and no ``int``."""

    def __index__(self) -> int:
        return 5000


class NumpyLikeFloat:
    """Prints as its shortest decimal, as ``float32`` does, whose conversion to a ``float`` adds digits."""

    def __float__(self) -> float:
        return 5000.10009765625

    def __str__(self) -> str:
        return "5000.1"


Integral.register(NumpyLikeInt)
Real.register(NumpyLikeFloat)


@pytest.mark.parametrize("minimum", [5000, "5000", " 5000 ", "5000.00", Decimal("5E3"), 5000.0, NumpyLikeInt()])
@pytest.mark.parametrize("credit_type", ["sms", "balance"])
def test_a_number_means_the_same_whichever_way_it_comes(minimum: Any, credit_type: str) -> None:
    requirement = CreditRequirement(minimum, credit_type)
    assert requirement.min_credits == 5000
    assert isinstance(requirement.min_credits, Decimal if credit_type == "balance" else int)


@pytest.mark.parametrize(("minimum", "exact"), [(150.1, "150.1"), (NumpyLikeFloat(), "5000.1"), (-0.0, "0.0")])
def test_a_float_counts_as_the_decimal_that_it_prints_as(minimum: Any, exact: str) -> None:
    assert str(CreditRequirement(minimum, "balance").min_credits) == exact


@pytest.mark.parametrize("minimum", ["263.1", 263.1, Decimal("263.000000000000000001"), 0.1 * 3 + 263])
def test_a_threshold_between_two_counts_is_the_upper_one(minimum: Any) -> None:
    requirement = CreditRequirement(minimum)
    assert not requirement.is_met_by(replace(CREDITS, sms=263))
    assert requirement.is_met_by(replace(CREDITS, sms=264))
    assert requirement.describe(CREDITS).endswith("264 needed: enough")


@pytest.mark.parametrize("credit_type", CreditType)
def test_the_largest_minimum_is_10_to_the_18(credit_type: CreditType) -> None:
    assert CreditRequirement(10**18, credit_type).min_credits == 10**18
    with pytest.raises(SMSPartnerArgumentError, match="from 0 to 10"):
        CreditRequirement(10**18 + 1, credit_type)


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
        (float("nan"), "sms", "from 0"),
        (float("inf"), "balance", "from 0"),
        (-0.5, "sms", "from 0"),
        pytest.param(10**5000, "sms", "from 0", id="5,001 digits"),
        (0.1 * 3, "balance", "round it"),
        (Fraction(1, 3), "balance", "not a number"),
        (True, "sms", "bool"),
        ([5000], "sms", "list"),
        ({"count": 5000}, "sms", "dict"),
        (None, "sms", "NoneType"),
    ],
)
def test_a_minimum_that_makes_no_sense_is_refused_with_what_to_write(
    minimum: object, credit_type: str, told: str
) -> None:
    with pytest.raises(SMSPartnerArgumentError, match="^min_credits is ") as refusal:
        CreditRequirement(minimum, credit_type)
    assert told in str(refusal.value)


def test_an_unknown_credit_type_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SMSPartnerArgumentError, match="'sms', 'sms_low_cost', 'hlr', 'balance'"):
        CreditRequirement(1, "creditSms")


@pytest.mark.parametrize("credit_type", ["hlr", "balance"])
def test_pending_sms_cannot_be_subtracted_from_what_is_not_counted_in_sms(credit_type: str) -> None:
    with pytest.raises(SMSPartnerArgumentError, match="subtract_pending counts SMS"):
        CreditRequirement(1, credit_type, subtract_pending=True)


def test_credits_that_say_nothing_are_no_credits() -> None:
    with pytest.raises(SMSPartnerArgumentError, match="at least one"):
        Credits(sms=None, sms_low_cost=None, hlr=None, to_send=3, balance=None, currency="EUR")


def test_every_credit_type_names_a_figure_of_the_credits() -> None:
    assert [CREDITS.of(credit_type) for credit_type in CreditType] == [269082, 444570, 2045023, Decimal("10225.119")]


def test_credits_tell_each_figure_and_what_is_unknown() -> None:
    assert str(CREDITS) == "269082 sms, 444570 sms_low_cost, 2045023 hlr, 82 to_send, balance 10225.119 EUR"
    assert str(UNKNOWN) == "unknown sms, unknown sms_low_cost, 1 hlr, unknown to_send, balance unknown"
    assert str(replace(UNKNOWN, unreadable={"sms": "creditSms"})).startswith("unreadable sms, unknown sms_low_cost")


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


@pytest.mark.parametrize("returned", ["an account", "its credits", "its user", "an account in a list"])
def test_airflow_s_serialisation_refuses_what_no_task_could_read_and_names_what_can_be(returned: str) -> None:
    account = Account(User("exemple@email.com", "John", "Doe"), CREDITS, datetime(2026, 7, 1, 12, tzinfo=UTC))
    values: dict[str, Any] = {
        "an account": account,
        "its credits": CREDITS,
        "its user": account.user,
        "an account in a list": [{"paris": account}],
    }
    # No TypeError, which Airflow 2's encoder replaces by a sentence of its own.
    with pytest.raises(SMSPartnerConfigurationError, match="return account.reading()") as refusal:
        serialize_for_xcom(values[returned])
    assert not isinstance(refusal.value, TypeError)


def test_a_task_that_returns_an_account_fails_for_good_and_one_that_returns_its_reading_is_read(
    sandbox: SMSPartnerSandbox, connect: Any, run_dag: Any, task_log: Any
) -> None:
    connect(sandbox)
    with DAG("xcom_of_an_account", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:

        @task(retries=3)
        def whole() -> Any:
            return SMSPartnerHook().get_account()

        @task
        def reading() -> Any:
            return SMSPartnerHook().get_account().reading()

        @task
        def balance(reading: dict[str, Any]) -> str:
            return f"{reading['balance']} of type {type(reading['balance']).__name__}"

        whole()
        balance(reading())
    run = run_dag(dag)
    ended = {instance.task_id: (str(instance.state), instance.try_number) for instance in run.get_task_instances()}
    assert ended == {"whole": ("failed", 1), "reading": ("success", 1), "balance": ("success", 1)}
    assert run.get_task_instance("whole").xcom_pull("whole") is None
    assert run.get_task_instance("balance").xcom_pull("balance") == "10225.119 of type str"
    log = task_log()
    assert "Account is not for XCom" in log
    assert "sandbox@" not in log
