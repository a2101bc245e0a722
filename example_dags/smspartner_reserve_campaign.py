"""Reserve the credit of a campaign before it is sent, deduct each part that was sent, and release the rest."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, AirflowFailException, task

from airflow_provider_smspartner.hooks.reservations import CreditReservationsHook
from airflow_provider_smspartner.operators.reservations import CreditsReleaseOperator
from airflow_provider_smspartner.sensors.reservations import CreditsReservationSensor

log = logging.getLogger("airflow.task")

CHUNK = 500
"""Recipients a task: what is sent again should one task fail."""


def send_stand_in(first: int, last: int, sms: int) -> None:
    """Stand in for the code of yours that sends: this one sends nothing."""
    log.info("A real campaign would now send %d SMS to recipients %d to %d", sms, first + 1, last)


with DAG(
    dag_id="smspartner_reserve_campaign",
    description="Reserve the credit that a campaign needs, send it, and release the rest",
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

    @task
    def split(audience: dict[str, int]) -> list[list[int]]:
        """Return the first and the last recipient of each chunk."""
        last = audience["recipients"]
        return [[first, min(first + CHUNK, last)] for first in range(0, last, CHUNK)]

    # [START reserve]
    reserve = CreditsReservationSensor(
        task_id="reserve",
        min_credits="{{ ti.xcom_pull('count_audience')['sms'] }}",
        smspartner_conn_id="smspartner_default",
        reservations_conn_id="ledger",
        hold_for=timedelta(hours=24),  # longer than the longest pause between two chunks
        deferrable=True,
        poke_interval=timedelta(minutes=1),
        timeout=timedelta(hours=12),
        skip_on_timeout=True,  # nobody wants the message the day after; a wrong key still fails
    )
    # [END reserve]

    # [START send]
    @task
    def send_chunk(reservation: dict[str, object], chunk: list[int], params: dict[str, int]) -> None:
        """Check, send, deduct: in this order."""
        hook = CreditReservationsHook("ledger")
        if not hook.still_holds(reservation):
            raise AirflowFailException("The reservation is gone: nothing was sent. Clear 'reserve' to reserve anew")
        first, last = chunk
        sms = (last - first) * params["sms_per_recipient"]
        send_stand_in(first, last, sms)
        hook.deduct(reservation, sms)

    # [END send]

    # [START release]
    release = CreditsReleaseOperator(
        task_id="release",
        reservation=reserve.output,
        reservations_conn_id="ledger",
        retries=3,
    )
    # [END release]

    # [START order]
    audience = count_audience()
    chunks = split(audience)
    audience >> reserve
    sent = send_chunk.partial(reservation=reserve.output).expand(chunk=chunks)
    sent >> release.as_teardown(setups=reserve, on_failure_fail_dagrun=True)
    # [END order]
