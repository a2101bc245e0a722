"""Pass the figures of a snapshot on to whatever DAG wants them, by the event of an asset."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow.providers.common.compat.sdk import DAG, Asset, task

from airflow_provider_smspartner.operators.credits import CreditsToSqlOperator

# [START asset]
credit = Asset("smspartner_credit")

with DAG(
    dag_id="smspartner_credit_producer",
    schedule="@hourly",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    tags=["smspartner"],
):
    CreditsToSqlOperator(task_id="snapshot", sql_conn_id="warehouse", outlets=[credit])


@task
def tell(triggering_asset_events: Any = None) -> list[str]:
    """Return a line for each account of the last snapshot; the balances are exact strings."""
    figures = triggering_asset_events[credit][-1].extra["snapshots"]
    return [f"{account['smspartner_conn_id']}: {account['balance']} {account['currency']}" for account in figures]


with DAG(dag_id="smspartner_credit_consumer", schedule=[credit], start_date=datetime(2026, 1, 1), tags=["smspartner"]):
    tell()
# [END asset]
