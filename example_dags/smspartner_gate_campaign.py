"""Start a campaign only when the account can pay for all of it, and keep the credit before and after."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_smspartner.operators.credits import CreditsToSqlOperator
from airflow_provider_smspartner.sensors.credits import CreditsSensor

log = logging.getLogger("airflow.task")

CHUNK = 500
"""Recipients a task: what is sent again should one task fail."""

with DAG(
    dag_id="smspartner_gate_campaign",
    description="Wait for the credit that a campaign needs, then send it",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    params={"recipients": 2000, "sms_per_recipient": 2},
    tags=["smspartner"],
):

    @task
    def count_audience(params: dict[str, int]) -> dict[str, int]:
        """Count whom the campaign goes to, and the SMS that takes: a text of 161 to 306 characters is two of them."""
        recipients = params["recipients"]
        return {"recipients": recipients, "sms": recipients * params["sms_per_recipient"]}

    # [START gate]
    gate = CreditsSensor(
        task_id="wait_for_credit",
        min_credits="{{ ti.xcom_pull('count_audience')['sms'] }}",
        subtract_pending=True,  # what is queued already will be paid from the same balance
        smspartner_conn_id="smspartner_default",
        mode="reschedule",
        poke_interval=timedelta(minutes=1),
        timeout=timedelta(hours=12),
        skip_on_timeout=True,  # nobody wants the message the day after; a wrong key still fails
    )
    # [END gate]

    @task
    def split(audience: dict[str, int]) -> list[list[int]]:
        """Return the first and the last recipient of each chunk."""
        last = audience["recipients"]
        return [[first, min(first + CHUNK, last)] for first in range(0, last, CHUNK)]

    @task
    def send_chunk_stand_in(chunk: list[int]) -> None:
        """Stand in for the task of yours that sends: this one sends nothing."""
        first, last = chunk
        log.info("A real campaign would now send to recipients %d to %d", first + 1, last)

    before = CreditsToSqlOperator(task_id="snapshot_before", sql_conn_id="warehouse")
    after = CreditsToSqlOperator(task_id="snapshot_after", sql_conn_id="warehouse")

    audience = count_audience()
    chunks = split(audience)
    audience >> gate >> before >> chunks
    send_chunk_stand_in.expand(chunk=chunks) >> after
