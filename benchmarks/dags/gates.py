"""The gates whose opening is measured, one DAG each."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_smspartner.sensors.credits import CreditsSensor
from benchmarks import rival

INTERVAL = float(os.environ["AIRFLOW__BENCHMARKS__INTERVAL"])
# A gate that comes and goes more often than Airflow keeps up with loses a try, and not the run.
TRIES = {"retries": 5, "retry_delay": timedelta()}
ENOUGH = {"task_id": "gate", "min_credits": 10_000, "smspartner_conn_id": "ours", "poke_interval": INTERVAL}
GATES = {
    "ours_deferrable": lambda: CreditsSensor(**ENOUGH, deferrable=True),
    "ours_reschedule": lambda: CreditsSensor(**ENOUGH, mode="reschedule"),
    "rival_reschedule": lambda: rival.gate(mode="reschedule", interval=INTERVAL),
    "rival_poke": lambda: rival.gate(mode="poke", interval=INTERVAL),
}

for name, make_gate in GATES.items():
    with DAG(name, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), default_args=TRIES):
        make_gate()
