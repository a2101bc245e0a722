"""What Airflow itself keeps in memory for a trigger, whatever it waits for: the floor of ``many_triggers``."""

from __future__ import annotations

import time

from benchmarks.many_triggers import Cost
from benchmarks.measure import Line
from benchmarks.nothing import FileIsThere
from benchmarks.triggerer import Size, run_triggerer
from tests.system.airflow import Airflow

FULL, QUICK = Size(triggers=2000, interval=60, intervals=1), Size(triggers=5, interval=1, intervals=1)


def measure(size: Size) -> list[Line]:
    """Return one line, without a side of this package's."""
    each = (_memory(size.triggers, size) - _memory(1, size)) / max(size.triggers - 1, 1) / 1024
    return [
        Line(
            "memory per trigger that does nothing",
            f"{size.triggers:,} in one triggerer, over one alone",
            "",
            f"Airflow itself: {each:,.0f} KiB",
            "",
            "",
            None,
        )
    ]


def _memory(triggers: int, size: Size) -> int:
    """Return the bytes of both processes, some time after the last trigger was taken."""
    waiting = [FileIsThere(f"/nowhere/{number}", size.interval).serialize() for number in range(triggers)]
    with run_triggerer(waiting, {}) as triggerer:
        taken = "SELECT count(*) FROM trigger WHERE triggerer_id IS NOT NULL"
        Airflow.until(lambda: triggerer.airflow.query(taken) == [(triggers,)], timeout=300)
        time.sleep(size.interval * size.intervals + 5)
        return Cost.of(triggerer).memory
