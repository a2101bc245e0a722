"""Campaigns that reserve, send for real money of a sandbox, deduct and release: one DAG for each way of waiting."""

from __future__ import annotations

from datetime import timedelta
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_smspartner.hooks.reservations import CreditReservationsHook
from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook
from airflow_provider_smspartner.operators.reservations import CreditsReleaseOperator
from airflow_provider_smspartner.sensors.credits import CreditsSensor
from airflow_provider_smspartner.sensors.reservations import CreditsReservationSensor

CHUNK = 100
WAYS: dict[str, dict[str, Any]] = {
    "poke": {"mode": "poke", "deferrable": False, "poke_interval": 3},
    # Airflow takes a gate that is rescheduled before the scheduler knows that its last poke has ended for a failed one.
    "reschedule": {"mode": "reschedule", "deferrable": False, "poke_interval": 20},
    "deferrable": {"deferrable": True, "poke_interval": 3},
}
WAITING = {"smspartner_conn_id": "campaigns", "min_credits": "{{ params.sms }}", "timeout": 1800}


def pay(sms: int) -> None:
    """Send: spend what that costs, and fail where the account holds less."""
    connection = HTTPConnection(urlsplit(SMSPartnerHook("campaigns").base_url).netloc, timeout=60)
    connection.request("POST", f"/sandbox/spend?amount={sms}")
    answer = connection.getresponse().status
    connection.close()
    if answer != 200:
        raise RuntimeError("ended short")


def chunks(sms: int) -> list[int]:
    return [min(CHUNK, sms - first) for first in range(0, sms, CHUNK)]


@task(retries=2, retry_delay=timedelta(seconds=1))
def send(reservation: dict[str, Any], params: dict[str, int]) -> int:
    """Check, send, deduct, chunk by chunk; a retry goes on behind what was deducted."""
    hook = CreditReservationsHook("ledger")
    held = int(reservation["held"])
    sent = held - next(row.rest for row in hook.reservations() if row.reservation_id == reservation["reservation_id"])
    for first, chunk in enumerate(chunks(params["sms"])):
        if first * CHUNK < sent:
            continue
        if not hook.still_holds(reservation):
            raise RuntimeError("has expired")
        pay(chunk)
        hook.deduct(reservation, chunk, key=str(first))
    return params["sms"]


@task
def send_without(params: dict[str, int]) -> int:
    """Send as a campaign does that holds nothing."""
    for chunk in chunks(params["sms"]):
        pay(chunk)
    return params["sms"]


for name, way in WAYS.items():
    with DAG(f"reserving_{name}", schedule=None, max_active_runs=50, params={"sms": 500}):
        reserve = CreditsReservationSensor(
            task_id="reserve",
            reservations_conn_id="ledger",
            hold_for=timedelta(minutes=10),
            settles_after=0,
            **WAITING,
            **way,
        )
        release = CreditsReleaseOperator(
            task_id="release", reservation=reserve.output, reservations_conn_id="ledger", retries=3
        )
        reserve >> send(reserve.output) >> release.as_teardown(setups=reserve, on_failure_fail_dagrun=True)

    with DAG(f"gated_{name}", schedule=None, max_active_runs=50, params={"sms": 500}):
        CreditsSensor(task_id="gate", **WAITING, **way) >> send_without()
