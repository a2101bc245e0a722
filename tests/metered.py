"""Campaigns that make each metric at least once: a program, as Airflow sets its metrics up once a process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow_provider_smspartner.account import CreditRequirement
from airflow_provider_smspartner.hooks.reservations import CreditReservationsHook
from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook
from airflow_provider_smspartner.operators.forecast import CreditsForecastOperator
from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from airflow_provider_smspartner.sensors.credits import CreditsSensor
from airflow_provider_smspartner.sensors.reservations import CreditsReservationSensor
from tests.airflow_versions import flush_metrics, run_to_its_end, start_metrics
from tests.daily_snapshots import take_daily_snapshots
from tests.once_asked import once_asked

HOLD = timedelta(seconds=0.3)


def run(name: str, task: Callable[..., object], **arguments: object) -> None:
    """Run one task to its end, however that is."""
    from airflow.providers.common.compat.sdk import DAG

    with DAG(name, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        task(task_id="task", **arguments)
    run_to_its_end(dag)


def main() -> None:
    start_metrics()
    from airflow.utils.db import initdb

    initdb()
    home = Path(os.environ["AIRFLOW_HOME"])
    for conn_id in ("ledger", "warehouse"):
        conn = {"conn_type": "sqlite", "host": str(home / f"{conn_id}.db")}
        os.environ[f"AIRFLOW_CONN_{conn_id.upper()}"] = json.dumps(conn)
    with SMSPartnerSandbox("100.5", prices={"sms": 1}) as sandbox:
        os.environ["AIRFLOW_CONN_SHOP.PARIS"] = sandbox.connection_json()
        os.environ["AIRFLOW_CONN_REVOKED"] = sandbox.connection_json(api_key="another")
        os.environ["AIRFLOW_CONN_AWAY"] = json.dumps(
            {"conn_type": "smspartner", "password": "x", "host": "http://127.0.0.1:1", "extra": {"max_retries": 0}}
        )
        gates(sandbox)
        reservations()
        take_daily_snapshots(home / "warehouse.db", **{"shop.paris": (30, 20, 10)})
        run("forecast", CreditsForecastOperator, sql_conn_id="warehouse", smspartner_conn_id="shop.paris")
    flush_metrics()


def gates(sandbox: SMSPartnerSandbox) -> None:
    """Run gates that open at once, after a wait in each mode, time out, and need action."""
    paris = {"smspartner_conn_id": "shop.paris", "poke_interval": 0.01}
    run("opens_at_once", CreditsSensor, min_credits=1, **paris)
    for name, mode in (("poked", {}), ("rescheduled", {"mode": "reschedule"}), ("deferred", {"deferrable": True})):
        needed = int(sandbox.balance) + 1
        with once_asked(sandbox, sandbox.requests + 2, lambda: sandbox.top_up(1_000)):
            run(name, CreditsSensor, min_credits=needed, **mode, **paris)
    run("times_out", CreditsSensor, min_credits=10**9, timeout=0.02, **paris)
    run("is_skipped", CreditsSensor, min_credits=10**9, timeout=0.02, soft_fail=True, **paris)
    run("needs_action", CreditsSensor, min_credits=1, smspartner_conn_id="revoked", soft_fail=True)
    with suppress(Exception):
        SMSPartnerHook("away").get_account()


def reservations() -> None:
    """Reserve twice: let one expire and release the other, then wait for more than there is."""
    hook = CreditReservationsHook("ledger")
    hook.reserve("shop.paris", CreditRequirement(10), holder="expires", hold_for=HOLD)
    held = hook.reserve("shop.paris", CreditRequirement(20), holder="releases", hold_for=timedelta(hours=1))
    while len(hook.reservations()) == 2:
        hook.still_holds(held)
    hook.release(held)
    shop = {"smspartner_conn_id": "shop.paris", "reservations_conn_id": "ledger"}
    run("reserves", CreditsReservationSensor, min_credits=30, **shop)


if __name__ == "__main__":
    main()
