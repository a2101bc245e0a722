"""Feed a warehouse: snapshots into a table that another team created, owns and may extend."""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_smspartner.operators.credits import CreditsToSqlOperator

with DAG(
    dag_id="smspartner_warehouse",
    description="Write the SMS Partner credit into a table of the warehouse, four times an hour",
    schedule="*/15 * * * *",  # the closer together, the less a top-up hides of what was consumed
    start_date=datetime(2026, 1, 1),
    catchup=False,  # a quarter of an hour that has passed can no longer be asked for
    tags=["smspartner"],
):
    # [START warehouse]
    CreditsToSqlOperator(
        task_id="snapshot",
        smspartner_conn_id="smspartner_default",
        sql_conn_id="warehouse",
        schema="marketing",
        # The account behind the connection may read and write here, and create nothing.
        create_table=False,
        retries=2,
        retry_delay=timedelta(minutes=2),
    )
    # [END warehouse]
