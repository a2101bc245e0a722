"""Warn when the credit of an account is about to run out, at the rate of the last week."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_smspartner.operators.forecast import CreditsForecastOperator

log = logging.getLogger(__name__)

with DAG(
    dag_id="smspartner_credit_forecast",
    description="Warn when less than ten days of SMS Partner credit are left",
    schedule="@daily",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    params={"days": 10},
    tags=["smspartner"],
):
    # [START forecast]
    forecast = CreditsForecastOperator(
        task_id="forecast",
        sql_conn_id="warehouse",  # where CreditsToSqlOperator writes each hour
        smspartner_conn_id=["smspartner_paris", "smspartner_lyon"],
        days=7,
    )

    @task
    def warn(forecasts: list[dict[str, Any]], params: dict[str, Any]) -> list[str]:
        """Log a warning for each account that is short; a real DAG would write to whoever pays the bill."""
        # No forecast is no alarm here: its reason is in the log of the task above.
        short = [one for one in forecasts if one["days_left"] is not None and one["days_left"] < params["days"]]
        lines = [f"{one['smspartner_conn_id']}: credit until {one['runs_out_at'][:10]}" for one in short]
        for line in lines:
            log.warning("%s", line)
        return lines

    warn(forecast.output)
    # [END forecast]
