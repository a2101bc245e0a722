"""The shortest gate: it lets the next task run once the account can pay for 5,000 SMS."""

from __future__ import annotations

from datetime import datetime

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_smspartner.sensors.credits import CreditsSensor

with DAG(dag_id="smspartner_first_gate", schedule=None, start_date=datetime(2026, 1, 1), tags=["smspartner"]):
    gate = CreditsSensor(task_id="enough_credit", min_credits=5000, poke_interval=10)

    @task
    def send() -> str:
        return "Here your campaign would be sent"

    gate >> send()
