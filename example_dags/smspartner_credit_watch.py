"""Start a DAG when credit runs out, and another one when credit comes in: no schedule, no waiting task. Airflow 3."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from airflow.providers.common.compat.sdk import DAG, Asset, task
from airflow.sdk import AssetWatcher

from airflow_provider_smspartner.triggers.credits import CreditsTrigger

log = logging.getLogger("airflow.task")

# [START watch]
low_credit = Asset(
    "smspartner_low_credit",
    watchers=[
        AssetWatcher(
            name="below_50",
            # One alert under 50 EUR, and no other before the balance has been at 75 or more again. And one where a
            # permanent error keeps the watcher from reading: silence must not pass for credit.
            trigger=CreditsTrigger(min_credits=50, credit_type="balance", direction="below", rearm_margin=25),
        )
    ],
)

credit_arrived = Asset(
    "smspartner_credit_arrived",
    watchers=[
        AssetWatcher(
            name="at_least_500",
            trigger=CreditsTrigger(min_credits=500, credit_type="balance", direction="at_least", rearm_margin=100),
        )
    ],
)
# [END watch]


@task
def tell(triggering_asset_events: Any = None) -> list[str]:
    """Log what the watchers saw; a real DAG would write to whoever pays the bill."""
    seen = [event.extra["payload"] for events in triggering_asset_events.values() for event in events]
    told = [sentence(payload) for payload in seen]
    for line in told:
        log.info("%s", line)
    return told


def sentence(seen: dict[str, Any]) -> str:
    """Tell one event of a watcher."""
    if seen["status"] == "unreadable":
        return f"Nobody watches {seen['smspartner_conn_id']}: {seen['error']['message']}"
    if seen["status"] == "readable":
        return f"{seen['smspartner_conn_id']} is watched again, at {seen['reading']['balance']}"
    return f"{seen['smspartner_conn_id']} is {seen['direction']} {seen['min_credits']}, at {seen['reading']['balance']}"


with DAG("smspartner_low_credit_alert", schedule=[low_credit], start_date=datetime(2026, 1, 1), tags=["smspartner"]):
    tell()

with DAG("smspartner_credit_arrived", schedule=[credit_arrived], start_date=datetime(2026, 1, 1), tags=["smspartner"]):
    tell()
