"""The code that the page on reservations shows for a task without a sensor."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_smspartner.account import CreditRequirement
from airflow_provider_smspartner.hooks.reservations import CreditReservationsHook
from airflow_provider_smspartner.sandbox import SMSPartnerSandbox


@pytest.fixture
def account(tmp_path, monkeypatch):
    ledger = {"conn_type": "sqlite", "host": str(tmp_path / "ledger.db")}
    monkeypatch.setenv("AIRFLOW_CONN_LEDGER", json.dumps(ledger))
    with SMSPartnerSandbox(balance="100.00") as sandbox:
        monkeypatch.setenv("AIRFLOW_CONN_SMSPARTNER_DEFAULT", sandbox.connection_json())
        yield sandbox


def test_what_a_task_reserves_by_itself_is_held_until_it_is_released(account):
    def send(first, last):
        account.spend("19.00")

    # [START reserve]
    hook = CreditReservationsHook("ledger")
    held = hook.reserve(
        "smspartner_default", CreditRequirement(2000), holder="campaign-17", hold_for=timedelta(hours=1)
    )
    if held is None:
        raise AirflowException("Not enough credit is free now")
    try:
        send(1, 500)
        hook.deduct(held, 500, key="recipients 1 to 500")
    finally:
        hook.release(held)
    # [END reserve]
    (row,) = hook.reservations(active=False)
    assert (row.deducted, row.ended_how) == (500, "released")
