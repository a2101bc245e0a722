"""Compute what a campaign to several countries costs, and hold it until the account can pay that."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_smspartner.sensors.credits import CreditsSensor

# [START parts]
GSM_7 = set(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
TWO_PLACES_EACH = set("^{}\\[~]|€\f")
MOST_PARTS = 10


def sms_parts(text: str) -> int:
    """Return how many SMS a text is sent, and paid, as: 160 characters in one, 153 in each of several."""
    if set(text) <= GSM_7 | TWO_PLACES_EACH:
        length = len(text) + sum(character in TWO_PLACES_EACH for character in text)
        alone, chained = 160, 153
    else:  # one other character makes the whole text Unicode; an emoji takes two places there
        length = len(text.encode("utf-16-be")) // 2
        alone, chained = 70, 67
    parts = 1 if length <= alone else -(-length // chained)
    if parts > MOST_PARTS:
        raise ValueError(f"the text takes {parts} SMS, and SMS Partner sends {MOST_PARTS} at most: shorten it")
    return parts


# [END parts]

with DAG(
    dag_id="smspartner_campaign_cost",
    description="Wait for the money that a campaign to several countries takes",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    params={
        "text": "Winter sale: 30 % off everything from Friday 9 am until Sunday night, in our shops and on our site. "
        "Show this message at the till, or type WINTER26. One voucher per customer, while stocks last.",
        "stop_mention": " STOP 36000",
        "recipients": {"FR": 1500, "BE": 300, "CH": 200},
        # The first is the price behind the API's own sample; the others are made up. Yours are in your contract.
        "prices": {"FR": "0.038", "BE": "0.070", "CH": "0.085"},
    },
    tags=["smspartner"],
):
    # [START cost]
    @task
    def cost(params: dict[str, Any]) -> dict[str, Any]:
        """Return the SMS that the campaign takes by country, and the amount that they cost."""
        parts = sms_parts(params["text"] + params["stop_mention"])
        sms = {country: count * parts for country, count in params["recipients"].items()}
        amount = sum(Decimal(params["prices"][country]) * count for country, count in sms.items())
        return {"parts": parts, "sms": sms, "amount": str(amount)}

    gate = CreditsSensor(
        task_id="wait_for_budget",
        min_credits="{{ ti.xcom_pull('cost')['amount'] }}",
        credit_type="balance",
        mode="reschedule",
        poke_interval=timedelta(minutes=1),
        timeout=timedelta(hours=12),
    )
    # [END cost]

    @task
    def send_stand_in(reading: dict[str, str]) -> str:
        """Stand in for the task of yours that sends: this one sends nothing."""
        return f"Would send now, with a balance of {reading['balance']}"

    cost() >> gate
    send_stand_in(gate.output)
