"""Tasks that stay on their workers: gates that do not defer, and a snapshot whose worker is going to be killed."""

from __future__ import annotations

from datetime import timedelta
from threading import Event
from typing import Any

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_smspartner.operators.credits import CreditsToSqlOperator
from airflow_provider_smspartner.sensors.credits import CreditsSensor

AGAIN = {"retries": 1, "retry_delay": timedelta(0)}
GATES = {"poke": 6, "reschedule": 2}

INTERVALS = {"poke": 3, "reschedule": 15}
"""Airflow takes a gate that is rescheduled before the scheduler knows that its last poke has ended for a failed one."""


def stay(context: Any, result: object) -> None:
    """Keep the first try, which has written its row, from ending."""
    if context["ti"].try_number == 1:
        Event().wait()


def gates(mode: str) -> None:
    CreditsSensor.partial(
        task_id=mode, mode=mode, smspartner_conn_id="held", poke_interval=INTERVALS[mode], timeout=1800, **AGAIN
    ).expand(min_credits=[1000 + gate for gate in range(GATES[mode])])


with DAG("gates_on_workers", schedule=None):
    for mode in GATES:
        gates(mode)

with DAG("snapshot_that_stays", schedule=None):
    gates("poke")
    CreditsToSqlOperator(
        task_id="snapshot", sql_conn_id="warehouse", smspartner_conn_id="held", post_execute=stay, **AGAIN
    )
