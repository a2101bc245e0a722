"""The account behind the sandbox is exact, and refuses what makes no sense."""

from __future__ import annotations

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from tests.unit.sandbox.asking import me


def test_top_up_and_spend_move_the_counts(sandbox: SMSPartnerSandbox) -> None:
    assert sandbox.top_up("50") == Decimal("150.00")
    assert me(sandbox)["credits"]["creditSms"] == 3947
    assert sandbox.spend("149.962") == Decimal("0.038")
    assert me(sandbox)["credits"]["creditSms"] == 1
    assert sandbox.balance == Decimal("0.038")


def test_nobody_spends_more_than_there_is(sandbox: SMSPartnerSandbox) -> None:
    with pytest.raises(ValueError, match=r"holds 100\.00 EUR"):
        sandbox.spend("100.01")
    assert sandbox.balance == Decimal("100.00")


def test_the_balance_is_exact_under_threads() -> None:
    sandbox = SMSPartnerSandbox("1000")
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            for _ in range(4):
                pool.submit(lambda: [sandbox.top_up("0.003") for _ in range(500)])
                pool.submit(lambda: [sandbox.spend("0.001") for _ in range(500)])
    finally:
        sys.setswitchinterval(before)
    assert sandbox.balance == Decimal("1004.000")


@pytest.mark.parametrize("amount", [0.1, 100.0, True, "abc", "", None, "NaN", "Infinity", "-1", "1e400", []])
def test_what_is_no_exact_amount_is_refused(amount: Any) -> None:
    for attempt in (SMSPartnerSandbox, SMSPartnerSandbox().top_up, SMSPartnerSandbox().spend):
        with pytest.raises(ValueError, match=r"(balance|amount) is "):
            attempt(amount)


def test_a_float_is_told_what_to_write_instead() -> None:
    with pytest.raises(ValueError, match=r"balance is 10\.5, which is not exact: write it like '10\.50'"):
        SMSPartnerSandbox(10.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"api_key": ""}, "api_key is empty"),
        ({"api_key": []}, "api_key is empty"),
        ({"api_key": ["one", ""]}, "api_key is empty"),
        ({"currency": "euro"}, "currency is 'euro'"),
        ({"prices": {"mms": "1"}}, "prices are of mms"),
        ({"prices": {"sms": 0}}, "the price of sms is 0"),
        ({"prices": {"sms": 0.038}}, "the price of sms is 0.038"),
        ({"port": 65536}, "port is 65536"),
        ({"port": -1}, "port is -1"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        SMSPartnerSandbox(**arguments)
