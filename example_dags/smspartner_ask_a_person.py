"""Ask a person what to do with a campaign that cannot be paid: top up and wait, cut it, or cancel it. Airflow 3.1."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG, task
from airflow.providers.standard.operators.hitl import HITLBranchOperator

from airflow_provider_smspartner.account import CreditRequirement
from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook
from airflow_provider_smspartner.sensors.credits import CreditsSensor

log = logging.getLogger("airflow.task")

with DAG(
    dag_id="smspartner_ask_a_person",
    description="Ask whether to top up, cut or cancel a campaign that cannot be paid",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    params={"recipients": 4000, "sms_per_recipient": 2},
    tags=["smspartner"],
):
    # [START ask]
    @task
    def compare(params: dict[str, Any]) -> dict[str, Any]:
        """Read the account, and tell what the campaign needs, what is missing, and whom the account can pay for."""
        needed = CreditRequirement(params["recipients"] * params["sms_per_recipient"])
        credits = SMSPartnerHook().get_account().credits
        payable = (credits.sms or 0) // params["sms_per_recipient"]
        return {"needed": needed.min_credits, "missing": needed.missing(credits), "payable": payable}

    @task.branch
    def is_it_short(compared: dict[str, Any]) -> str:
        """Send at once where nothing is missing; ask, too, where that is unknown."""
        return "send" if compared["missing"] == 0 else "ask"

    ask = HITLBranchOperator(
        task_id="ask",
        subject="The campaign lacks {{ ti.xcom_pull(task_ids='compare')['missing'] }} SMS",
        body="""
It needs {{ ti.xcom_pull(task_ids='compare')['needed'] }} SMS. The account can pay for
{{ ti.xcom_pull(task_ids='compare')['payable'] }} of {{ params.recipients }} recipients.

Buy credit: https://my.smspartner.fr/connexion. Without an answer within 12 hours the campaign is cancelled.
""",
        options=["Top up and wait", "Cut it", "Cancel it"],
        options_mapping={"Top up and wait": "wait_for_credit", "Cut it": "cut", "Cancel it": "cancelled"},
        defaults="Cancel it",
        response_timeout=timedelta(hours=12),
    )
    # [END ask]

    wait_for_credit = CreditsSensor(
        task_id="wait_for_credit",
        min_credits="{{ ti.xcom_pull(task_ids='compare')['needed'] }}",
        deferrable=True,
        timeout=24 * 3600,
    )

    @task
    def cut(compared: dict[str, Any]) -> int:
        """Return how many recipients are left."""
        return compared["payable"]

    @task
    def cancelled() -> None:
        """Say so."""
        log.info("The campaign is cancelled: nothing is sent")

    @task(trigger_rule="none_failed_min_one_success")
    def send(left: int | None, params: dict[str, Any]) -> int:
        """Stand in for what sends the SMS."""
        recipients = params["recipients"] if left is None else left
        log.info("would now send to %d recipients", recipients)
        return recipients

    compared = compare()
    is_short = is_it_short(compared)
    left = cut(compared)
    sent = send(left)
    is_short >> [ask, sent]
    ask >> [wait_for_credit, left, cancelled()]
    wait_for_credit >> sent
