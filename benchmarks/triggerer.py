"""A real ``airflow triggerer`` over deferred tasks that stand in its database; nothing else of Airflow runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from airflow_provider_smspartner.triggers.credits import CreditsTrigger
from tests.system.airflow import Airflow

if TYPE_CHECKING:
    import psutil

Serialized = tuple[str, Mapping[str, Any]]
"""A trigger's class path and arguments."""

AS_AIRFLOW_HAS_THEM = {
    "logging__logging_level": "INFO",
    "triggerer__job_heartbeat_sec": "5",
    "triggerer__triggerer_health_check_threshold": "30",
}
"""Settings that the system tests change, and a measured triggerer is not to have changed."""


@dataclass(frozen=True)
class Size:
    """How many triggers of a side wait, how often they poll, and over how many polls of each they are watched."""

    triggers: int
    interval: float
    intervals: int


@dataclass(frozen=True)
class Triggerer:
    """
    The two processes of a running triggerer.

    Its runner is where the triggers live. Its supervisor talks to the database, looks connections up and writes logs.
    """

    supervisor: psutil.Process
    airflow: Airflow

    @property
    def runner(self) -> psutil.Process:
        """Once triggers run: on its way there the supervisor starts others, which end at once."""
        (runner,) = self.supervisor.children()
        return runner

    def until_taken(self, triggers: int) -> None:
        """Wait until it has taken so many of the stored triggers."""
        taken = "SELECT count(*) FROM trigger WHERE triggerer_id IS NOT NULL"
        self.airflow.until(lambda: self.airflow.query(taken) == [(triggers,)], timeout=300)


def waiting_gate(conn_id: str, interval: float) -> Serialized:
    """Return what our sensor defers to, of a gate that never opens."""
    return CreditsTrigger(min_credits=10**9, smspartner_conn_id=conn_id, poke_interval=interval, once=True).serialize()


@contextmanager
def run_triggerer(triggers: Sequence[Serialized], named: Mapping[str, str]) -> Iterator[Triggerer]:
    """
    Run a triggerer of its own home and database, SQLite, until it is left.

    :param triggers: one deferred task waits for each
    :param named: Airflow connections by conn id, kept in Airflow's database
    """
    with TemporaryDirectory() as folder:
        airflow = _airflow(Path(folder))
        shutil.copy(_migrated_database(), airflow.home)
        asked_for = json.dumps({"triggers": triggers, "connections": named})
        store = [sys.executable, "-m", "benchmarks.deferred"]
        subprocess.run(store, env=airflow.environment, input=asked_for, stdout=subprocess.PIPE, text=True, check=True)
        airflow.start_triggerer()
        try:
            yield Triggerer(airflow.process_of("triggerer"), airflow)
        finally:
            airflow.stop()


@cache
def _migrated_database() -> Path:
    """Return an empty database of Airflow's, which takes long to make, in the home of this run."""
    airflow = _airflow(Path(os.environ["AIRFLOW_HOME"]))
    airflow.make_database()
    return airflow.home / "airflow.db"


def _airflow(home: Path) -> Airflow:
    return Airflow(Path(sys.prefix), home, home / "dags", {}, triggerer__capacity="10000", **AS_AIRFLOW_HAS_THEM)
