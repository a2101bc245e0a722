from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_smspartner.plugins.credit_page import CreditPagePlugin
from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from airflow_provider_smspartner.sensors.credits import CreditsSensor
from airflow_provider_smspartner.sensors.gate import CreditGate
from tests.airflow_versions import links_of


def one(**arguments: Any) -> None:
    CreditsSensor(task_id="gate", **arguments)


def mapped(**arguments: Any) -> None:
    CreditsSensor.partial(task_id="gate", **arguments).expand(credit_type=["sms", "hlr"])


@pytest.mark.parametrize("make", [one, mapped])
def test_a_gate_leads_to_where_credit_is_bought(
    run_dag: Callable[..., Any], connect: Callable[..., str], sandbox: SMSPartnerSandbox, make: Callable[..., None]
) -> None:
    with DAG("linked", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        make(min_credits=1, smspartner_conn_id=connect(sandbox))
    for instance in run_dag(dag).get_task_instances():
        (link,) = links_of(dag, "gate", instance).values()
        address = urlsplit(link)
        assert (address.scheme, address.query) == ("https", "")
        assert address.hostname.endswith(".smspartner.fr")
        # What Airflow 3 stores of a link is there once the task has left its worker: a gate would wait without.
        assert instance.xcom_pull(task_ids="gate", key="_link_BuyCreditLink") is None


def test_every_gate_has_it_once() -> None:
    gates = {gate for gate in CreditGate.__subclasses__() if gate.__module__.startswith("airflow_provider_smspartner.")}
    by_the_plugin = [gate for link in CreditPagePlugin.operator_extra_links for gate in link.operators]
    by_itself = [gate for gate in gates if gate.operator_extra_links]
    assert sorted(by_the_plugin + by_itself, key=str) == sorted(gates, key=str)
