"""Ask the account in a task of your own, and tell transient errors from permanent ones."""

from __future__ import annotations

from datetime import datetime

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_smspartner.exceptions import SMSPartnerError
from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook

with DAG(
    dag_id="smspartner_ask_account",
    description="Report the SMS Partner credit every morning",
    schedule="0 7 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    tags=["smspartner"],
):
    # [START ask]
    @task(retries=3)
    def report() -> str:
        credits = SMSPartnerHook("smspartner_default").get_account().credits
        if credits.balance is None:  # unknown, which is not 0
            return "The account does not report its balance"
        return f"{credits.balance} {credits.currency} left, which buys {credits.sms} SMS"

    # [END ask]

    # [START catch]
    @task
    def is_reachable() -> bool:
        try:
            SMSPartnerHook("smspartner_default").get_account()
        except SMSPartnerError as error:
            if not error.retryable:  # permanent, needs action: a wrong key, a blocked account
                raise
            return False
        return True

    # [END catch]

    report()
    is_reachable()
