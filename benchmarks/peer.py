"""The pipeline that people write today, as well as it can be: the http provider's sensor with a response check."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.http.sensors.http import HttpSensor

CONN_ID = "peer"
REQUEST = {"endpoint": "me", "http_conn_id": CONN_ID}

SNAPSHOT_FIELDS = ("creditSms", "creditSmsLowCost", "creditHlr", "toSend", "balance", "currency")
SNAPSHOT_TABLE = """
    CREATE TABLE credit_snapshots (
        run_id TEXT PRIMARY KEY, taken_at TEXT,
        credit_sms INTEGER, credit_low_cost INTEGER, credit_hlr INTEGER, to_send INTEGER, balance TEXT, currency TEXT
    )
"""
SNAPSHOT_UPSERT = """
    INSERT INTO credit_snapshots VALUES (?, CURRENT_TIMESTAMP, ?, ?, ?, ?, ?, ?) ON CONFLICT (run_id) DO UPDATE SET
        taken_at = excluded.taken_at, credit_sms = excluded.credit_sms, credit_hlr = excluded.credit_hlr,
        credit_low_cost = excluded.credit_low_cost, to_send = excluded.to_send,
        balance = excluded.balance, currency = excluded.currency
"""


def has_enough(response: Any) -> bool:
    """Tell whether an answer shows 10,000 SMS; one without a count is no reason to go on."""
    count = response.json().get("credits", {}).get("creditSms")
    return count is not None and count >= 10_000


async def has_enough_soon(response: Any) -> bool:
    """Tell the same to ``HttpEventTrigger``, which takes coroutines alone."""
    return has_enough(response)


def gate(*, mode: str, interval: float) -> HttpSensor:
    """
    Return the gate, with the key out of the DAG file: Airflow renders it.

    Not deferrable: with a response check this sensor never defers, and without one it cannot see the credit.
    """
    return HttpSensor(
        task_id="gate",
        request_params={"apiKey": f"{{{{ conn.{CONN_ID}.password }}}}"},
        extra_options={"timeout": 10},
        response_check=has_enough,
        mode=mode,
        poke_interval=interval,
        timeout=timedelta(hours=12).total_seconds(),
        **REQUEST,
    )


def snapshot(key: str, sql_conn_id: str, context: Any) -> None:
    """Take a snapshot as the tasks of a DAG would, one after the other, with what one of them hands to the next."""
    read = HttpOperator(
        task_id="read",
        method="GET",
        data={"apiKey": key},
        extra_options={"timeout": 10},
        response_filter=lambda response: response.json()["credits"],
        **REQUEST,
    )
    credits = read.execute(context)
    write = SQLExecuteQueryOperator(
        task_id="write",
        conn_id=sql_conn_id,
        sql=SNAPSHOT_UPSERT,
        parameters=[context["ti"].run_id, *(credits[name] for name in SNAPSHOT_FIELDS)],
    )
    write.execute(context)


def deferred_gate(key: str, interval: float, conn_id: str = CONN_ID) -> tuple[str, dict[str, Any]]:
    """Return what a sensor of somebody's own defers to: the http provider's one trigger that looks into answers."""
    arguments = REQUEST | {
        "data": {"apiKey": key},
        "method": "GET",
        "response_check_path": f"{__name__}.has_enough_soon",
        "poll_interval": interval,
        "http_conn_id": conn_id,
    }
    return "airflow.providers.http.triggers.http.HttpEventTrigger", arguments
