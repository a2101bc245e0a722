"""A whole Airflow for the benchmarks: API server, scheduler with LocalExecutor, DAG processor, triggerer."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.system.airflow import Airflow

DAGS = Path(__file__).parent / "dags"


@contextmanager
def run_airflow(home: str, named: Mapping[str, str], interval: float, **settings: str) -> Iterator[Airflow]:
    """
    Run Airflow with the benchmarks' DAGs until it is left.

    :param named: Airflow connections by conn id
    :param interval: seconds between two polls of a gate in those DAGs
    :param settings: what the DAGs read, and Airflow's settings
    """
    told = {"logging__logging_level": "INFO", "benchmarks__interval": str(interval)} | settings
    airflow = Airflow(Path(sys.prefix), Path(home), DAGS, named, **told)
    try:
        airflow.start()
        yield airflow
    finally:
        airflow.stop()
