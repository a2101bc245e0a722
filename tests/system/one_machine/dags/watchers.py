"""DAGs that start when credit comes in, and when it runs out."""

from __future__ import annotations

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset, AssetWatcher

from airflow_provider_smspartner.triggers.credits import CreditsTrigger

ARRIVED = CreditsTrigger(min_credits=1000, rearm_margin=200, smspartner_conn_id="watched", poke_interval=1)
LOW = CreditsTrigger(
    min_credits=300, direction="below", rearm_margin=100, smspartner_conn_id="watched", poke_interval=1
)

for name, trigger in {"credit_arrived": ARRIVED, "credit_low": LOW}.items():
    asset = Asset(name, watchers=[AssetWatcher(name=name, trigger=trigger)])
    with DAG(f"on_{name}", schedule=[asset]):
        EmptyOperator(task_id="act")
