"""The gates whose opening is measured, one DAG each."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_smspartner.sensors.credits import CreditsSensor
from benchmarks import peer

INTERVAL = float(os.environ["AIRFLOW__BENCHMARKS__INTERVAL"])
# A gate that comes and goes more often than Airflow keeps up with loses a try, and not the run.
TRIES = {"retries": 5, "retry_delay": timedelta()}
ENOUGH = {"task_id": "gate", "min_credits": 10_000, "smspartner_conn_id": "package", "poke_interval": INTERVAL}
GATES = {
    "package_deferrable": lambda: CreditsSensor(**ENOUGH, deferrable=True),
    "package_reschedule": lambda: CreditsSensor(**ENOUGH, mode="reschedule"),
    "peer_reschedule": lambda: peer.gate(mode="reschedule", interval=INTERVAL),
    "peer_poke": lambda: peer.gate(mode="poke", interval=INTERVAL),
}

for name, make_gate in GATES.items():
    with DAG(name, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), default_args=TRIES):
        make_gate()
