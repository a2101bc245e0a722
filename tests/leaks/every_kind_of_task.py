"""A DAG of every kind of task, under each planted key, run to its end in a process and an Airflow home of its own."""

from __future__ import annotations

from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from airflow.providers.common.compat.sdk import DAG, Asset
from airflow.utils.db import initdb

from airflow_provider_smspartner.operators.credits import CreditsToSqlOperator
from airflow_provider_smspartner.sensors.credits import CreditsSensor
from tests.spellings import PLANTED

NUMBERS = range(len(PLANTED))
RIGHT, WRONG = ([f"{kind}_{number}" for number in NUMBERS] for kind in ("right", "wrong"))

if __name__ == "__main__":
    initdb()
    with DAG("every_kind", schedule=None) as dag:
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
        CreditsToSqlOperator(
            task_id="snapshot",
            sql_conn_id="warehouse",
            smspartner_conn_id=RIGHT,
            outlets=[Asset("figures")],
            store_username=True,
        )
        CreditsToSqlOperator(task_id="partly", sql_conn_id="warehouse", smspartner_conn_id=[*RIGHT, *WRONG])
    DagBundlesManager().sync_bundles_to_db()
    bag = DagBag(bundle_name="dags-folder", collect_dags=False)
    bag.bag_dag(dag)
    sync_bag_to_db(bag, "dags-folder", None)
    dag.test()
