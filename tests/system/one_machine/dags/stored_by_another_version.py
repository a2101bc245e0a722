"""A gate whose trigger is stored with an argument that the triggerer's version refuses."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Context

from airflow_provider_smspartner.account import CreditRequirement
from airflow_provider_smspartner.sensors.credits import CreditsSensor
from airflow_provider_smspartner.triggers.credits import CreditsTrigger


class LooserTrigger(CreditsTrigger):
    """Stands in for the version that a worker has: it stores what was never a number."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        classpath, arguments = super().serialize()
        return classpath, arguments | {"min_credits": "{{ params.n }}"}


class LooserSensor(CreditsSensor):
    def trigger(self, requirement: CreditRequirement, context: Context) -> CreditsTrigger:
        return LooserTrigger(min_credits=requirement.min_credits, smspartner_conn_id=self.smspartner_conn_id, once=True)


with DAG("gates_stored_by_another_version", schedule=None):
    LooserSensor.partial(task_id="gate", smspartner_conn_id="campaigns", deferrable=True, retries=3).expand(
        min_credits=[10**9]
    )
