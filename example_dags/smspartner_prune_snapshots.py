"""Keep two years of snapshots: delete older ones once a month."""

from __future__ import annotations

from datetime import datetime

from airflow.providers.common.compat.sdk import DAG
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator

with DAG(
    dag_id="smspartner_prune_snapshots",
    description="Delete the SMS Partner snapshots of more than two years ago",
    schedule="@monthly",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    params={"days": 730},
    tags=["smspartner"],
):
    # [START prune]
    SQLExecuteQueryOperator(
        task_id="prune",
        conn_id="warehouse",
        sql="""
            DELETE FROM smspartner_credit_snapshots
            WHERE captured_at < '{{ (macros.datetime.now() - macros.timedelta(days=params.days)).date() }}'
        """,
    )
    # [END prune]
