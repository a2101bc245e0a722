"""Two accounts' credit, written in one transaction, by a task that tells Airflow of it when it is allowed to."""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG
from airflow.providers.postgres.hooks.postgres import PostgresHook

from airflow_provider_smspartner.operators.credits import CreditsToSqlOperator


def wait_for_the_barrier(*_: object) -> None:
    """Wait between the commit and the word to Airflow for as long as somebody holds the lock, which is nobody often."""
    PostgresHook("warehouse").run("SELECT pg_advisory_xact_lock_shared(1)")


with DAG("snapshots", schedule=None):
    CreditsToSqlOperator(
        task_id="snapshot",
        sql_conn_id="warehouse",
        smspartner_conn_id=["campaigns", "subaccount"],
        post_execute=wait_for_the_barrier,
        # An attempt that finds no database fails within a second or two.
        retries=20,
        retry_delay=timedelta(seconds=2),
    )
