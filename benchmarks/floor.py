"""What Airflow itself keeps in memory for a trigger, whatever it waits for: the floor of ``many_triggers``."""

from __future__ import annotations

import time

from benchmarks.accounts import Account
from benchmarks.many_triggers import Cost
from benchmarks.measure import Line
from benchmarks.nothing import FileIsThere, Told
from benchmarks.triggerer import Size, run_triggerer
from tests.system.airflow import Airflow

FULL, QUICK = Size(triggers=2000, interval=60, intervals=1), Size(triggers=5, interval=1, intervals=1)


def measure(size: Size) -> list[Line]:
    """Return a line of triggers that do nothing, and one of those that log and look a connection up, as ours do."""
    kinds = {"does nothing": FileIsThere, "logs a line, and looks a connection up": Told}
    return [_line(figure, kind, size) for figure, kind in kinds.items()]


def _line(figure: str, kind: type[FileIsThere], size: Size) -> Line:
    each = (_memory(kind, size.triggers, size) - _memory(kind, 1, size)) / max(size.triggers - 1, 1) / 1024
    return Line(
        f"memory per trigger that {figure}",
        f"{size.triggers:,} in one triggerer, over one alone",
        "",
        f"Airflow itself: {each:,.0f} KiB",
        "",
        "",
        None,
    )


def _memory(kind: type[FileIsThere], triggers: int, size: Size) -> int:
    """Return the bytes of both processes, some time after the last trigger was taken."""
    names = [f"account_{number}" for number in range(triggers)]
    named = {name: Account("http://127.0.0.1:9/v1", f"key-of-{name}").connection() for name in names}
    with run_triggerer([kind(name, size.interval).serialize() for name in names], named) as triggerer:
        triggerer.until_taken(triggers)
        if kind is Told:  # connections are looked up one at a time, in turns of the triggerer's main loop
            logs = triggerer.airflow.home / "logs"
            Airflow.until(lambda: len([*logs.rglob("*.trigger.*")]) == triggers, timeout=600, pause=1)
        time.sleep(size.interval * size.intervals + 5)
        return Cost.of(triggerer).memory
