"""What the sensor and the operator add to the parsing of a DAG file, in a fresh interpreter each time."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

from benchmarks.measure import Line, Spread, in_random_order

PROGRAM = """
import sys, time
from airflow.sdk import DAG, BaseOperator, BaseSensorOperator
before, begin = set(sys.modules), time.perf_counter()
{imports}
print(time.perf_counter() - begin, len(set(sys.modules) - before))
"""

SIDES = {
    "package": """
from airflow_provider_smspartner.operators.credits import CreditsToSqlOperator
from airflow_provider_smspartner.sensors.credits import CreditsSensor
""",
    "peer": """
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.providers.http.sensors.http import HttpSensor
""",
}


@dataclass(frozen=True)
class Size:
    """How often each side is imported."""

    rounds: int


FULL, QUICK = Size(rounds=15), Size(rounds=1)


def measure(size: Size) -> list[Line]:
    """Return the time and the modules."""
    seconds: dict[str, list[float]] = {name: [] for name in SIDES}
    modules: dict[str, int] = {}
    for name in in_random_order(SIDES, size.rounds):
        took, modules[name] = _import_once(SIDES[name])
        seconds[name].append(took)
    package, peer = Spread.of(seconds["package"]), Spread.of(seconds["peer"])
    figure = "added to ``airflow.sdk`` at parse time"
    return [
        Line(
            figure,
            "time",
            package.told("ms", 1e3),
            f"peer: {peer.told('ms', 1e3)}",
            f"{package.median / peer.median:.3f}",
            "at most 15 ms",
            package.median <= 0.015,
        ),
        Line(
            figure,
            "modules",
            str(modules["package"]),
            f"peer: {modules['peer']}",
            f"{modules['package'] / modules['peer']:.3f}",
            "at most 14",
            modules["package"] <= 14,
        ),
    ]


def _import_once(imports: str) -> tuple[float, int]:
    program = PROGRAM.format(imports=imports)
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    seconds, modules = done.stdout.split()
    return float(seconds), int(modules)
