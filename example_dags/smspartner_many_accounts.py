"""Keep the history of many accounts, such as a reseller's: all in one task, or a mapped task for each."""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_smspartner.operators.credits import CreditsToSqlOperator

# Sub-accounts have API keys of their own: one connection each.
ACCOUNTS = ["smspartner_paris", "smspartner_lyon", "smspartner_nantes"]

with DAG(
    dag_id="smspartner_many_accounts",
    description="Write the SMS Partner credit of all accounts in one task",
    schedule="@hourly",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    tags=["smspartner"],
):
    # [START list]
    CreditsToSqlOperator(
        task_id="snapshot",
        smspartner_conn_id=ACCOUNTS,  # one slot for all; an account that fails does not cost the others their rows
        sql_conn_id="warehouse",
        max_concurrency=8,
        # On a retry, every account is read again, and replaces its own row.
        retries=3,
        retry_delay=timedelta(minutes=5),
    )
    # [END list]

with DAG(
    dag_id="smspartner_mapped_accounts",
    description="Write the SMS Partner credit of each account in a task of its own",
    schedule="@hourly",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    params={"accounts": ACCOUNTS},
    tags=["smspartner"],
):
    # [START mapped]
    @task
    def list_accounts(params: dict[str, list[str]]) -> list[str]:
        """Return the connections to read; yours may come from a table of customers."""
        return params["accounts"]

    CreditsToSqlOperator.partial(
        task_id="snapshot",
        sql_conn_id="warehouse",
        map_index_template="{{ task.smspartner_conn_id }}",  # what the UI calls each, in place of 0, 1, 2
        retries=3,
        retry_delay=timedelta(minutes=5),
        max_active_tis_per_dagrun=8,
    ).expand(smspartner_conn_id=list_accounts())
    # [END mapped]
