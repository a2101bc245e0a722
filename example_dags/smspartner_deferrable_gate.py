"""Hold many campaigns back at the price of one request a minute, and of no worker slot."""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_smspartner.sensors.credits import CreditsSensor

with DAG(
    dag_id="smspartner_deferrable_gate",
    description="Wait for credit in the triggerer, for an amount of money",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    params={"budget": "150.00"},
    tags=["smspartner"],
):
    # [START deferrable_gate]
    gate = CreditsSensor(
        task_id="wait_for_budget",
        min_credits="{{ params.budget }}",
        credit_type="balance",  # the counts hold at the account's base price, and this campaign goes abroad too
        deferrable=True,
        poke_interval=timedelta(minutes=1),
        timeout=timedelta(days=2),
        skip_on_timeout=True,  # two days later nobody wants the message any more; a wrong key still fails
    )
    # [END deferrable_gate]

    @task
    def send_stand_in(reading: dict[str, str]) -> str:
        """Stand in for the task of yours that sends: this one sends nothing."""
        return f"Would send now, with a balance of {reading['balance']}"

    send_stand_in(gate.output)
