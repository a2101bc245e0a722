"""The snapshot that is measured on a whole Airflow: in one task, and in the two of the http and SQL providers."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.providers.common.compat.sdk import DAG
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.providers.http.operators.http import HttpOperator

from airflow_provider_smspartner.operators.credits import CreditsToSqlOperator
from benchmarks import peer

FIGURES = [f"{{{{ ti.xcom_pull('read')[{number}] }}}}" for number in range(len(peer.SNAPSHOT_FIELDS))]

with DAG("package_snapshot", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
    CreditsToSqlOperator(task_id="snapshot", sql_conn_id="warehouse", smspartner_conn_id="package")

with DAG("peer_snapshot", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
    read = HttpOperator(
        task_id="read",
        method="GET",
        data={"apiKey": f"{{{{ conn.{peer.CONN_ID}.password }}}}"},
        extra_options={"timeout": 10},
        response_filter=lambda response: [response.json()["credits"][name] for name in peer.SNAPSHOT_FIELDS],
        **peer.REQUEST,
    )
    write = SQLExecuteQueryOperator(
        task_id="write",
        conn_id="warehouse",
        sql=peer.SNAPSHOT_UPSERT,
        parameters=["{{ run_id }}", *FIGURES],
    )
    read >> write
