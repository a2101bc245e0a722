"""A made-up month of credit, so that the pages have something to show at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from airflow_provider_smspartner.sql.snapshots import Snapshot, snapshot_table, write_snapshots

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

HOURS = 30 * 24
PRICE = Decimal("0.038")
"""Of an SMS, as in the vendor's sample."""


@dataclass(frozen=True)
class Habit:
    """
    How an account is used.

    :param start: what it holds at first
    :param trickle: what it consumes each hour of the day, 8 to 20 o'clock
    :param campaign: what it consumes at once, every third day
    :param top_up: what is paid in when less than that is left
    """

    start: Decimal
    trickle: Decimal
    campaign: Decimal
    top_up: Decimal


HABITS = {
    "smspartner_default": Habit(Decimal(1200), Decimal("0.95"), Decimal(60), Decimal(0)),
    "smspartner_paris": Habit(Decimal(900), Decimal("1.52"), Decimal(95), Decimal(500)),
    "smspartner_lyon": Habit(Decimal(400), Decimal("0.38"), Decimal(0), Decimal(0)),
    "smspartner_nantes": Habit(Decimal(250), Decimal("0.57"), Decimal(38), Decimal(200)),
}
GAP = range(300, 333)
"""Hours in which nobody took a snapshot."""


def write_history(engine: Engine, habits: Mapping[str, Habit] = HABITS) -> None:
    """Write a snapshot an hour of each account, the last one now."""
    rows = [row for conn_id, habit in habits.items() for row in _month(conn_id, habit)]
    write_snapshots(engine, snapshot_table("smspartner_credit_snapshots"), rows)


def _month(conn_id: str, habit: Habit) -> Iterator[Snapshot]:
    now, balance = datetime.now(UTC), habit.start
    for hour in range(HOURS + 1):
        at = now - timedelta(hours=HOURS - hour)
        balance -= habit.trickle if at.hour in range(8, 20) else 0
        balance -= habit.campaign if hour % 72 == 40 else 0
        balance += habit.top_up if balance < habit.top_up / 5 else 0
        if hour not in GAP:
            yield Snapshot(
                captured_at=at,
                smspartner_conn_id=conn_id,
                credit_sms=int(balance / PRICE),
                credit_sms_low_cost=int(balance / PRICE * 2),
                credit_hlr=int(balance / PRICE * 4),
                to_send=0,
                balance=balance,
                currency="EUR",
                dag_id="smspartner_many_accounts",
                task_id="snapshot",
                run_id=f"made_up_{hour}",
                map_index=-1,
                logical_date=None,
            )
