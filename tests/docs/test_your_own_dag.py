"""The tests that the guide to the sandbox shows."""

from __future__ import annotations

# [START test]
import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook
from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from airflow_provider_smspartner.sensors.credits import CreditsSensor


@pytest.fixture
def account(monkeypatch):
    with SMSPartnerSandbox(balance="100.00") as sandbox:
        monkeypatch.setenv("AIRFLOW_CONN_SMSPARTNER_DEFAULT", sandbox.connection_json(max_retries=2))
        yield sandbox


def test_the_campaign_waits_for_its_credit(account):
    with DAG("campaign"):
        gate = CreditsSensor(task_id="enough_credit", min_credits=5000)
    assert not gate.poke({})  # 100.00 EUR buy 2,631 SMS
    account.top_up("100.00")
    assert gate.poke({})
    assert account.requests == 2


# [END test]


def test_a_short_outage_costs_a_try(account):
    # [START faults]
    account.fail_next(http_status=503, times=2)
    assert SMSPartnerHook().get_account().credits.sms == 2631
    assert account.requests == 3  # two failed, the third one answered
    # [END faults]
