"""Keep the history of an account's credit: one row an hour, for whoever asks later where the money went."""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_smspartner.operators.credits import CreditsToSqlOperator

with DAG(
    dag_id="smspartner_credit_snapshots",
    description="Write the SMS Partner credit into a SQL table, every hour",
    schedule="@hourly",
    start_date=datetime(2026, 1, 1),
    catchup=False,  # an hour that has passed can no longer be asked for
    tags=["smspartner"],
):
    # [START snapshot]
    CreditsToSqlOperator(
        task_id="snapshot",
        smspartner_conn_id="smspartner_default",
        sql_conn_id="warehouse",
        # The API may be away for a while; a later try replaces the row of its own run.
        retries=3,
        retry_delay=timedelta(minutes=5),
    )
    # [END snapshot]
