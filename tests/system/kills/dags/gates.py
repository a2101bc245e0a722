"""Gates on one account, all of them waiting in the triggerer."""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_smspartner.sensors.credits import CreditsSensor

GATES = 20

with DAG("gates", schedule=None, max_active_tasks=GATES):
    CreditsSensor.partial(
        task_id="gate",
        smspartner_conn_id="campaigns",
        deferrable=True,
        poke_interval=5,
        timeout=1800,
        # None is to be used.
        retries=1,
        retry_delay=timedelta(0),
    ).expand(min_credits=[1000 + gate for gate in range(GATES)])
