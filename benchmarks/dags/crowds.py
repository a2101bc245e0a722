"""Many gates that open at once: ours, and as many that ask nobody anything."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_smspartner.sensors.credits import CreditsSensor
from benchmarks.nothing import FileGate

INTERVAL = float(os.environ["AIRFLOW__BENCHMARKS__INTERVAL"])
GATES = int(os.environ.get("AIRFLOW__BENCHMARKS__GATES", "1"))
# As in gates.py: Airflow may lose a try of many that come back at once, and not the run.
TRIES = {"retries": 5, "retry_delay": timedelta()}
FILE = os.environ.get("AIRFLOW__BENCHMARKS__FILE", "")

with DAG("package_crowd", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), default_args=TRIES):
    CreditsSensor.partial(task_id="gate", min_credits=10_000, poke_interval=INTERVAL, deferrable=True).expand(
        smspartner_conn_id=["package"] * GATES
    )

with DAG("nothing_crowd", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), default_args=TRIES):
    FileGate.partial(task_id="gate", poke_interval=INTERVAL).expand(path=[FILE] * GATES)
