"""A DAG of every kind of task, under each planted key, run to its end in a process and an Airflow home of its own."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from airflow.providers.common.compat.sdk import DAG, Asset
from airflow.utils.db import initdb

from airflow_provider_smspartner.operators.credits import CreditsToSqlOperator
from airflow_provider_smspartner.operators.forecast import CreditsForecastOperator
from airflow_provider_smspartner.operators.reservations import CreditsReleaseOperator
from airflow_provider_smspartner.sensors.credits import CreditsSensor
from airflow_provider_smspartner.sensors.reservations import CreditsReservationSensor
from tests.airflow_versions import run_to_its_end
from tests.spellings import PLANTED

NUMBERS = range(len(PLANTED))
RIGHT, WRONG = ([f"{kind}_{number}" for number in NUMBERS] for kind in ("right", "wrong"))

if __name__ == "__main__":
    initdb()
    logging.getLogger().setLevel(logging.DEBUG)  # where it was, until that made it WARNING
    with DAG("every_kind", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        for number in NUMBERS:
            for conn_id in ("right", "wrong", "refused", "bad", "unreadable"):
                CreditsSensor(
                    task_id=f"gate_on_{conn_id}_{number}",
                    smspartner_conn_id=f"{conn_id}_{number}",
                    min_credits=1,
                    poke_interval=0.01,
                    timeout=0.01,
                )
            CreditsSensor(
                task_id=f"deferred_gate_{number}",
                smspartner_conn_id=f"busy_{number}",
                min_credits=1,
                poke_interval=1,
                deferrable=True,
            )
            for conn_id in ("wrong", "late"):
                CreditsReservationSensor(
                    task_id=f"reserve_on_{conn_id}_{number}",
                    smspartner_conn_id=f"{conn_id}_{number}",
                    reservations_conn_id="ledger",
                    min_credits=1,
                    poke_interval=1,
                    deferrable=True,
                    outlets=[Asset("reserved")],
                )
        CreditsToSqlOperator(
            task_id="snapshot",
            sql_conn_id="warehouse",
            smspartner_conn_id=RIGHT,
            outlets=[Asset("figures")],
            store_username=True,
        )
        gate = dag.get_task("reserve_on_late_0")
        release = CreditsReleaseOperator(task_id="release", reservation=gate.output, reservations_conn_id="ledger")
        release.as_teardown(setups=gate)
        CreditsReservationSensor(
            task_id="reserve_in_a_ledger_of_a_wrong_key",
            smspartner_conn_id="right_0",
            reservations_conn_id="no_ledger",
            min_credits=1,
        )
        CreditsForecastOperator(task_id="forecast", sql_conn_id="warehouse", smspartner_conn_id=RIGHT)
        CreditsToSqlOperator(task_id="partly", sql_conn_id="warehouse", smspartner_conn_id=[*RIGHT, *WRONG])
    run_to_its_end(dag)
