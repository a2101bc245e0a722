"""Run where Airflow's settings point: store deferred tasks with their triggers, as a worker would leave them behind."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any

from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from airflow.models import Connection
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance
from airflow.models.trigger import Trigger
from airflow.sdk import DAG
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType, DagRunType

from airflow_provider_smspartner.sensors.credits import CreditsSensor


def main() -> None:
    """Read the triggers and connections from standard input, and store one deferred map index of a task for each."""
    asked_for = json.load(sys.stdin)
    with DAG("benchmark", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        CreditsSensor(task_id="gate", min_credits=1, deferrable=True)
    bag = DagBag(None, collect_dags=False, bundle_name="dags-folder")
    bag.bag_dag(dag)
    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(bag, "dags-folder", None)
    with create_session() as session:
        for conn_id, told in asked_for["connections"].items():
            session.add(Connection.from_json(told, conn_id))
        stored = session.scalars(SerializedDagModel.latest_item_select_object("benchmark")).one()
        run = stored.dag.create_dagrun(
            run_id="benchmark",
            run_after=datetime.now(UTC),
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state=DagRunState.RUNNING,
            session=session,
        )
        run.task_instances.clear()
        task = stored.dag.get_task("gate")
        for map_index, (classpath, arguments) in enumerate(asked_for["triggers"]):
            session.add(_deferred(task, run, map_index, Trigger(classpath, arguments)))


def _deferred(task: Any, run: Any, map_index: int, trigger: Trigger) -> TaskInstance:
    deferred = TaskInstance(
        task=task,
        dag_version_id=run.created_dag_version_id,
        run_id=run.run_id,
        state=TaskInstanceState.DEFERRED,
        map_index=map_index,
    )
    deferred.trigger = trigger
    deferred.next_method, deferred.next_kwargs, deferred.try_number = "execute_complete", {}, 1
    return deferred


if __name__ == "__main__":
    main()
