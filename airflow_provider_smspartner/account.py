"""What ``/v1/me`` says of an account, and the one predicate over it. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from decimal import ROUND_CEILING, Context, Decimal, InvalidOperation
from enum import StrEnum
from numbers import Integral, Real
from operator import index
from typing import Any, NoReturn, Self

from airflow_provider_smspartner.arguments import one_of, rendered_boolean, told
from airflow_provider_smspartner.exceptions import SMSPartnerArgumentError, SMSPartnerConfigurationError

LARGEST_MINIMUM = Decimal(10) ** 18
"""No account holds more, and a number with millions of digits would stall whoever compares it."""

SMALLEST_STEP = Decimal("0.000001")
"""Of an amount: what the snapshot table keeps too, and few enough digits that sums and differences stay exact."""


class CreditType(StrEnum):
    """
    What a campaign is paid in.

    The counts are one balance divided by three unit prices, not three pools: never add them up. ``sms`` counts premium
    SMS at the account's base price, so a campaign to several countries is better gated on ``balance``.
    """

    SMS = "sms"
    SMS_LOW_COST = "sms_low_cost"
    HLR = "hlr"
    BALANCE = "balance"


class _NotForXCom:
    """What Airflow cannot read back: it loads no class of ours, and would store the user's name in clear."""

    def serialize(self) -> NoReturn:
        """Refuse, where Airflow writes what a task returns."""
        raise SMSPartnerConfigurationError(
            f"{type(self).__name__} is not for XCom, which would hold the user's name and give no task the figures: "
            "return account.reading()"
        )


@dataclass(frozen=True)
class User(_NotForXCom):
    """Who the account belongs to: personal data, which no log, XCom or row holds unless asked for."""

    username: str | None
    firstname: str | None
    lastname: str | None


@dataclass(frozen=True)
class Credits(_NotForXCom):
    """
    The credit an account has left. None means unknown, never 0.

    :param sms: premium SMS that the balance buys (the API's ``creditSms``)
    :param sms_low_cost: low-cost SMS that it buys (``creditSmsECO``, formerly ``creditSmsLowCost``)
    :param hlr: number look-ups that it buys (``creditHlr``)
    :param to_send: SMS pending departure (``toSend``); whether they are already debited is documented nowhere
    :param balance: the amount, in ``currency`` (``balance``, or ``solde``)
    :param currency: ISO 4217 code
    :param unreadable: the unknown ones that the account reports all the same, but not as a plain number, each with the
        API's name for it
    """

    sms: int | None
    sms_low_cost: int | None
    hlr: int | None
    to_send: int | None
    balance: Decimal | None
    currency: str | None
    unreadable: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if all(self.of(credit_type) is None for credit_type in CreditType):
            raise SMSPartnerArgumentError("credits need at least one count or the balance")

    @classmethod
    def from_reading(cls, reading: Mapping[str, Any]) -> Self:
        """Return the credits of what ``Account.reading`` made: as they were, the balance exact."""
        figures: dict[str, Any] = {each.name: reading.get(each.name) for each in fields(cls) if each.compare}
        balance = figures["balance"]
        return cls(**figures | {"balance": None if balance is None else Decimal(balance)})

    def __str__(self) -> str:
        """Tell every figure in a log or on a page, the unknown ones as such."""
        counts = ", ".join(f"{self._told(name)} {name}" for name in ("sms", "sms_low_cost", "hlr", "to_send"))
        return f"{counts}, balance {self._told('balance')} {self.currency or ''}".rstrip()

    def of(self, credit_type: CreditType) -> int | Decimal | None:
        """Return the credit of that type, or None where the account does not report it."""
        credit: int | Decimal | None = getattr(self, CreditType(credit_type).value)
        return credit

    def why_unknown(self, name: str) -> str:
        """Return, for a log, why nobody knows the figure of that name: it is missing, or it cannot be read."""
        if name in self.unreadable:
            return f"the account reports {self.unreadable[name]!r}, but not as a plain number: unknown, and not 0"
        return f"the account does not report {name!r}, which is unknown and not 0"

    def _told(self, name: str) -> str:
        figure = getattr(self, name)
        if figure is None:
            return "unreadable" if name in self.unreadable else "unknown"
        return format(figure, "f" if isinstance(figure, Decimal) else "d")


@dataclass(frozen=True)
class Account(_NotForXCom):
    """
    One reading of an account.

    :param fetched_at: when the API answered, aware, UTC
    """

    user: User = field(repr=False)
    credits: Credits
    fetched_at: datetime

    def reading(self) -> dict[str, int | str | None]:
        """Return the reading as an XCom or an event holds it: JSON-simple, the balance an exact string, no user."""
        credits = asdict(self.credits)
        del credits["unreadable"]
        balance = self.credits.balance
        return credits | {
            "balance": None if balance is None else format(balance, "f"),
            "fetched_at": self.fetched_at.isoformat(),
        }


@dataclass(frozen=True)
class CreditRequirement:
    """
    The credit that a campaign needs: the one predicate that every way of waiting asks.

    :param min_credits: the least that must be there: SMS or look-ups, rounded up to a whole number, or an exact amount
        in the account's currency; an int, a Decimal, a float or a string of one
    :param credit_type: what it is counted in
    :param subtract_pending: subtract the SMS pending departure (``toSend``); for SMS counts only
    :raises SMSPartnerArgumentError: the requirement makes no sense; the text says what to write instead
    """

    min_credits: int | Decimal
    credit_type: CreditType = CreditType.SMS
    subtract_pending: bool = False

    def __post_init__(self) -> None:
        credit_type = CreditType(one_of("credit_type", self.credit_type, CreditType))
        subtract_pending = rendered_boolean("subtract_pending", self.subtract_pending)
        if subtract_pending and credit_type not in (CreditType.SMS, CreditType.SMS_LOW_COST):
            raise SMSPartnerArgumentError(
                f"subtract_pending counts SMS, and credit_type is {credit_type.value!r}: use 'sms' or 'sms_low_cost'"
            )
        object.__setattr__(self, "credit_type", credit_type)
        object.__setattr__(self, "subtract_pending", subtract_pending)
        object.__setattr__(self, "min_credits", exact_credits("min_credits", self.min_credits, credit_type))

    def available(self, credits: Credits) -> int | Decimal | None:
        """Return what of the credits counts towards the requirement, or None where that is unknown."""
        credit = credits.of(self.credit_type)
        if not self.subtract_pending or credit is None:
            return credit
        return None if credits.to_send is None else credit - credits.to_send

    def is_met_by(self, credits: Credits) -> bool:
        """Return whether the credits are enough; unknown credit is not."""
        available = self.available(credits)
        return available is not None and available >= self.min_credits

    def missing(self, credits: Credits) -> int | Decimal | None:
        """Return how much more is needed, to tell whoever tops up: 0 where it is enough, None where that is unknown."""
        available = self.available(credits)
        return None if available is None else max(self.min_credits - available, 0)

    def describe(self, credits: Credits) -> str:
        """Return one line for a log: what is there, what is needed, what is unknown, and whether it is enough."""
        needed = f"{self.min_credits} needed: {'enough' if self.is_met_by(credits) else 'not enough'}"
        available = self.available(credits)
        if available is None:
            unknown = self.credit_type.value if credits.of(self.credit_type) is None else "to_send"
            return f"{credits.why_unknown(unknown)}; {needed}"
        unit = f" {credits.currency}" if self.credit_type is CreditType.BALANCE and credits.currency else ""
        pending = f" ({credits.to_send} pending subtracted)" if self.subtract_pending else ""
        return f"{available}{unit} {self.credit_type.value} available{pending}, {needed}"


def exact_credits(name: str, value: object, credit_type: CreditType) -> int | Decimal:
    """
    Return a number of credits: a whole number of counts, or an exact amount.

    A threshold between two counts is the upper one: at least 263.1 SMS are 264.

    :param name: what to call it in an error
    :param value: as somebody wrote it, or as a template, XCom or a data frame delivers it
    :raises SMSPartnerArgumentError: it is neither; the text says what to write instead
    """
    number = _decimal(name, value)
    if not number.is_finite() or not 0 <= number <= LARGEST_MINIMUM:
        raise SMSPartnerArgumentError(f"{name} is {told(value)}: use a number from 0 to 10^18")
    if credit_type is not CreditType.BALANCE:
        return int(number.to_integral_value(ROUND_CEILING))
    amount = number.quantize(SMALLEST_STEP, context=Context(prec=25))
    if amount != number:
        raise SMSPartnerArgumentError(f"{name} is {told(value)}: round it to at most 6 digits behind the decimal point")
    # As it was written, but without an exponent: spelled out, 0E-9999999 is long. And without the sign of -0.0.
    return (amount if "E" in str(number) else number).copy_abs()


def _decimal(name: str, value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, Real | Decimal | str):
        raise SMSPartnerArgumentError(
            f"{name} is of type {type(value).__name__}: use an int, a Decimal, a float or a string of one; "
            "where a template made it, look at what it rendered"
        )
    if isinstance(value, Integral):
        return Decimal(index(value))
    try:
        # A float counts as the shortest decimal that it prints as: what somebody wrote, not its binary neighbour.
        return Decimal(str(value).strip())
    except InvalidOperation:
        pass
    raise SMSPartnerArgumentError(
        f"{name} is {told(value)}, which is not a number; where a template made it, look at what it rendered"
    )
