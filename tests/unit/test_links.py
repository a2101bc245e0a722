from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from airflow_provider_smspartner.sensors.credits import CreditsSensor


def test_a_gate_leads_to_where_credit_is_bought(
    run_dag: Callable[..., object], connect: Callable[..., str], sandbox: SMSPartnerSandbox
) -> None:
    with DAG("linked", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        gate = CreditsSensor(task_id="gate", min_credits=1, smspartner_conn_id=connect(sandbox))
    (instance,) = run_dag(dag).get_task_instances()
    (link,) = gate.operator_extra_links
    address = urlsplit(link.get_link(gate, ti_key=instance.key))
    assert (address.scheme, address.query) == ("https", "")
    assert address.hostname.endswith(".smspartner.fr")
    if hasattr(link, "xcom_key"):  # Airflow 2 asks when it shows the page
        assert instance.xcom_pull(task_ids="gate", key=link.xcom_key) == address.geturl()
