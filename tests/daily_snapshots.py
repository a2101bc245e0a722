"""A history that tests make up: a snapshot a day, the last one now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import sqlalchemy as sa

from airflow_provider_smspartner.sql.snapshots import Snapshot, snapshot_table, write_snapshots

NAME = "smspartner_credit_snapshots"


def take_daily_snapshots(path: Path, *, table: str = NAME, **balances: tuple[int, ...]) -> None:
    """
    Write the snapshots of accounts into a SQLite database; a unit of money buys ten SMS.

    :param balances: by conn id, the oldest first
    """
    now = datetime.now(UTC)
    rows = [
        Snapshot(
            captured_at=now - timedelta(days=age),
            smspartner_conn_id=conn_id,
            credit_sms=10 * balance,
            credit_sms_low_cost=None,
            credit_hlr=None,
            to_send=None,
            balance=Decimal(balance),
            currency="EUR",
            dag_id="dag",
            task_id="task",
            run_id=f"run_{age}",
            map_index=-1,
            logical_date=None,
        )
        for conn_id, of_account in balances.items()
        for age, balance in enumerate(reversed(of_account))
    ]
    engine = sa.create_engine(f"sqlite:///{path}")
    write_snapshots(engine, snapshot_table(table), rows)
    engine.dispose()
