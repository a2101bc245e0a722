"""Many gates on one account that open at once, on a whole Airflow, compared with as many that ask nobody anything."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from benchmarks.measure import Line, Spread, in_random_order, ratio_line
from benchmarks.whole import run_airflow

if TYPE_CHECKING:
    from tests.system.airflow import Airflow

INTERVAL = 5.0


@dataclass(frozen=True)
class Size:
    """How many gates open at once, and how often on each side."""

    gates: int
    rounds: int


FULL, QUICK = Size(gates=1000, rounds=1), Size(gates=3, rounds=1)


def measure(size: Size) -> list[Line]:
    """Return the time from the first task's end to the last one's, of our gates and of those that do nothing."""
    with TemporaryDirectory() as home, SMSPartnerSandbox("10") as account:
        there = Path(home) / "there"
        settings = {
            "core__max_active_tasks_per_dag": str(size.gates),
            "benchmarks__gates": str(size.gates),
            "benchmarks__file": str(there),
        }
        opens: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "package": (partial(account.top_up, "10000"), partial(account.spend, "10000")),
            "nothing": (there.touch, there.unlink),
        }
        took: dict[str, list[float]] = defaultdict(list)
        with run_airflow(home, {"package": account.connection_json()}, INTERVAL, **settings) as airflow:
            for side in in_random_order(opens, size.rounds):
                open_all, close = opens[side]
                took[side].append(_seconds(airflow, f"{side}_crowd", size.gates, open_all))
                close()
    return [
        ratio_line(
            f"{size.gates:,} gates on one account open at once: from the first task's end to the last one's",
            f"one Airflow, alternating, {'once' if size.rounds == 1 else f'{size.rounds} times'} each",
            Spread.of(took["package"]),
            ("a trigger that does nothing", Spread.of(took["nothing"])),
            1.05,
            unit="s",
        )
    ]


def _seconds(airflow: Airflow, dag_id: str, gates: int, open_all: Callable[[], object]) -> float:
    run = airflow.trigger(dag_id)
    # The database itself, as the REST API tells a hundred tasks at a time.
    tasks = f"SELECT end_date FROM task_instance WHERE run_id = '{run.run_id}' AND dag_id = '{dag_id}'"
    airflow.until(lambda: len(airflow.query(f"{tasks} AND state = 'deferred'")) == gates, timeout=1800, pause=1)
    open_all()
    airflow.until(lambda: len(airflow.query(f"{tasks} AND state = 'success'")) == gates, timeout=1800, pause=1)
    ends = [datetime.fromisoformat(str(end)) for (end,) in airflow.query(tasks)]
    return (max(ends) - min(ends)).total_seconds()
