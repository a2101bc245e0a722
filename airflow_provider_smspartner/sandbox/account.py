"""The account that the sandbox plays: a balance, the counts that its unit prices make of it, and its keys."""

from __future__ import annotations

import re
import threading
from collections.abc import Collection, Mapping
from decimal import ROUND_DOWN, Decimal, InvalidOperation
from typing import Any

from airflow_provider_smspartner.sandbox.answers import Answer, of_the_api

Amount = str | int | Decimal

UNIT_PRICES = {"sms": Decimal("0.038"), "sms_low_cost": Decimal("0.023"), "hlr": Decimal("0.005")}
"""The prices that the counts in the API's documentation come from."""

USER = {"username": "sandbox@example.com", "firstname": "Sandbox", "lastname": "Not the real API"}

LARGEST_AMOUNT = 10**15
SMALLEST_PRICE = Decimal("0.000001")


class SandboxAccount:
    """
    Hold a balance, and tell what it buys.

    :param api_key: the key of the account, or several
    :param to_send: SMS pending departure
    :param prices: unit prices; not all need be given
    :raises ValueError: an argument makes no sense; the text says what to write instead
    """

    def __init__(
        self,
        balance: Amount,
        api_key: str | Collection[str],
        *,
        currency: str,
        to_send: int,
        prices: Mapping[str, Amount],
    ) -> None:
        require(re.fullmatch("[A-Z]{3}", currency), f"currency is {currency!r}: use an ISO 4217 code, like EUR")
        self.currency = currency
        self.keys = _keys(api_key)
        self.to_send = to_send
        self._balance = _exact("balance", balance)
        self._prices = _unit_prices(prices)
        self._lock = threading.Lock()

    @property
    def balance(self) -> Decimal:
        """What it holds."""
        with self._lock:
            return self._balance

    def top_up(self, amount: Amount) -> Decimal:
        """Add the amount and return the new balance."""
        return self._move(_exact("amount", amount))

    def spend(self, amount: Amount) -> Decimal:
        """Take the amount and return the new balance."""
        return self._move(-_exact("amount", amount))

    def answer(self, parameters: Mapping[str, str]) -> Answer:
        """Return what the API answers to such a query."""
        key = parameters.get("apiKey")
        content: dict[str, Any]
        # Which HTTP status comes with a refusal is recorded nowhere; 200 is the one that makes a client read the body.
        if not key:
            content = {"success": False, "code": 1, "message": "Clé API requise"}
        elif key not in self.keys:
            content = {"success": False, "code": 10, "message": "Clé API incorrecte"}
        else:
            content = {"success": True, "code": 200, "user": USER, "credits": self._credits()}
        kind = "reading" if content["success"] else f"refusal with code {content['code']}"
        return of_the_api(content, parameters.get("_format"), kind)

    def told(self) -> str:
        """Return the balance as the API writes it: three places, never rounded up."""
        return _three_places(self.balance)

    def _credits(self) -> dict[str, int | str]:
        balance = self.balance
        return {
            "creditSms": int(balance // self._prices["sms"]),
            "creditSmsLowCost": int(balance // self._prices["sms_low_cost"]),
            "creditHlr": int(balance // self._prices["hlr"]),
            "toSend": self.to_send,
            "solde": _three_places(balance),
            "currency": self.currency,
            "balance": _three_places(balance),
        }

    def _move(self, amount: Decimal) -> Decimal:
        with self._lock:
            balance = self._balance + amount
            require(balance >= 0, f"the account holds {self._balance} {self.currency}, which is less than {-amount}")
            self._balance = _exact("balance", balance)
            return self._balance


def require(met: object, otherwise: str) -> None:
    """Refuse what makes no sense, in words."""
    if not met:
        raise ValueError(otherwise)


def _exact(name: str, value: Amount, least: Decimal = Decimal(0)) -> Decimal:
    require(not isinstance(value, bool | float), f"{name} is {value!r}, which is not exact: write it like '10.50'")
    try:
        amount = Decimal(value)
    except (InvalidOperation, TypeError, ValueError):
        raise ValueError(f"{name} is {value!r}, which is no amount: write it like '10.50'") from None
    fits = amount.is_finite() and least <= amount < LARGEST_AMOUNT
    require(fits, f"{name} is {value}: use {least} to below {LARGEST_AMOUNT}")
    return amount


def _keys(api_key: str | Collection[str]) -> tuple[str, ...]:
    keys = (api_key,) if isinstance(api_key, str) else tuple(api_key)
    require(keys and all(keys), "api_key is empty: give the sandbox a key, or several")
    return keys


def _unit_prices(prices: Mapping[str, Amount]) -> dict[str, Decimal]:
    require(prices.keys() <= UNIT_PRICES.keys(), f"prices are of {', '.join(prices)}: use {', '.join(UNIT_PRICES)}")
    return UNIT_PRICES | {name: _exact(f"the price of {name}", prices[name], SMALLEST_PRICE) for name in prices}


def _three_places(amount: Decimal) -> str:
    return format(amount.quantize(Decimal("0.001"), ROUND_DOWN), "f")
