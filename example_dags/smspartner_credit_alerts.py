"""Mail whoever pays the bill: when credit is low, when it will run out, and when a campaign does not start."""

from __future__ import annotations

from datetime import datetime
from html import escape
from typing import Any

from airflow.providers.common.compat.sdk import DAG, get_current_context, task
from airflow.providers.smtp.notifications.smtp import SmtpNotifier

from airflow_provider_smspartner.account import CreditRequirement
from airflow_provider_smspartner.exceptions import SMSPartnerError
from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook
from airflow_provider_smspartner.operators.forecast import CreditsForecastOperator
from airflow_provider_smspartner.sensors.credits import CreditsSensor


# [START mail]
def mail(subject: str, *lines: str, context: Any = None) -> None:
    """Send a mail over the Airflow connection smtp_default."""
    buy = "Buy credit: https://my.smspartner.fr/connexion"
    notify = SmtpNotifier(
        from_email="airflow@example.com",
        to="marketing@example.com",
        subject=subject,
        html_content="".join(f"<p>{escape(line)}</p>" for line in [*lines, buy]),
    )
    notify(context or get_current_context())


# [END mail]

with DAG(
    dag_id="smspartner_credit_alerts",
    description="Mail when SMS Partner credit is low, or will be in a week",
    schedule="@daily",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    params={"least": 50, "days": 7},
    tags=["smspartner"],
):
    # [START low]
    @task(retries=3)
    def tell_of_low_credit(params: dict[str, Any]) -> None:
        """Mail what is missing to the least that is to be there."""
        account = SMSPartnerHook().get_account()
        least = CreditRequirement(params["least"], "balance")
        if missing := least.missing(account.credits):
            mail(f"SMS Partner: {missing} {account.credits.currency} are missing", least.describe(account.credits))

    # [END low]

    # [START forecast]
    @task(retries=3)
    def tell_of_the_forecast(forecasts: list[dict[str, Any]], params: dict[str, Any]) -> None:
        """Mail until when the credit of each account lasts that is short."""
        for forecast in forecasts:
            if forecast["days_left"] is not None and forecast["days_left"] < params["days"]:
                until = f"Credit of {forecast['smspartner_conn_id']} until {forecast['runs_out_at'][:10]}"
                mail(until, f"{forecast['days_left']} days are left, at {forecast['per_day']} a day.")

    # [END forecast]

    tell_of_low_credit()
    tell_of_the_forecast(CreditsForecastOperator(task_id="forecast", sql_conn_id="warehouse").output)


# [START gate]
def tell_of_the_gate(context: Any) -> None:
    """Mail what a campaign lacks that does not start: read anew; or why that cannot be read, and what to do."""
    gate = context["task"]
    needed = gate.requirement()
    try:
        credits = SMSPartnerHook(gate.smspartner_conn_id).get_account().credits
    except SMSPartnerError as error:
        mail(f"{gate.dag_id} needs action", str(error), context=context)
        return
    missing = needed.missing(credits)
    what = f"{'an unknown number of' if missing is None else missing} {needed.credit_type}"
    mail(f"{gate.dag_id} does not start: it lacks {what}", needed.describe(credits), context=context)


with DAG("smspartner_campaign_with_alert", schedule=None, start_date=datetime(2026, 1, 1), tags=["smspartner"]):
    CreditsSensor(
        task_id="wait_for_credit",
        min_credits=4000,
        mode="reschedule",
        timeout=3600,  # seconds: an hour in which to top up
        on_failure_callback=tell_of_the_gate,
    )
    # [END gate]
