"""Gates on three connections, all of them waiting in the triggerer."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_smspartner.sensors.credits import CreditsSensor

GATES = {"campaigns": 50, "subaccount": 3, "revoked": 2}

for conn_id, how_many in GATES.items():
    with DAG(f"gates_on_{conn_id}", schedule=None, max_active_tasks=how_many):
        CreditsSensor.partial(
            task_id="gate",
            smspartner_conn_id=conn_id,
            deferrable=True,
            poke_interval=5,
            timeout=1800,
            # None is to be used: what fails here is a permanent error.
            retries=1,
            retry_delay=timedelta(0),
        ).expand(min_credits=[1000 + gate for gate in range(how_many)])
