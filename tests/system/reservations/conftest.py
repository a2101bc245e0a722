"""Airflow on PostgreSQL, alone or with two Celery workers; an account that is really spent from; a ledger."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import pytest
import sqlalchemy as sa

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from tests.spellings import PLANTED
from tests.system.airflow import Airflow
from tests.system.celery.servers import POSTGRESQL, REDIS, connection_to, made_database, taken_redis_database
from tests.system.reservations.story import BALANCE

DAGS = Path(__file__).parent / "dags"

ON_CELERY = "ON_CELERY" in os.environ
"""Whether two Celery workers run the tasks, in place of the scheduler's machine."""

KEY = PLANTED["special characters"]

WORKERS = ["worker-1", "worker-2"]


@pytest.fixture(scope="session")
def database(leave_out: Callable[[str], NoReturn]) -> Iterator[sa.URL]:
    """Make a database for Airflow and the ledger."""
    with ExitStack() as taken:
        try:
            url = taken.enter_context(made_database("reservations"))
        except sa.exc.OperationalError as error:
            leave_out(f"no PostgreSQL at {POSTGRESQL.host}:{POSTGRESQL.port}: {type(error).__name__}")
        yield url


@pytest.fixture(scope="session")
def account() -> Iterator[SMSPartnerSandbox]:
    """Serve an account that can pay for some ten campaigns."""
    with SMSPartnerSandbox(str(BALANCE), KEY, prices={"sms": 1}) as account:
        yield account


@pytest.fixture(scope="session")
def on_celery(database: sa.URL, leave_out: Callable[[str], NoReturn]) -> Iterator[dict[str, str]]:
    """Return the settings that Celery takes; none where it is not asked for."""
    if not ON_CELERY:
        yield {}
        return
    with ExitStack() as taken:
        try:
            _, number = taken.enter_context(taken_redis_database())
        except OSError as error:
            leave_out(f"no empty database on {REDIS}: {type(error).__name__}")
        yield {
            "celery__broker_url": f"{REDIS}/{number}",
            "celery__result_backend": f"db+{database.render_as_string(hide_password=False)}",
            "celery__worker_concurrency": "4",
            "core__executor": "CeleryExecutor",
            "operators__default_queue": database.database or "",
            # A try is not to be lost to two cores that are slow at times.
            "workers__execution_api_timeout": "60",
        }


@pytest.fixture(scope="session")
def airflow(
    database: sa.URL, account: SMSPartnerSandbox, on_celery: dict[str, str], run_airflow: Callable[..., Airflow]
) -> Airflow:
    """Run Airflow until the last test has ended."""
    connections = {
        "campaigns": account.connection_json(),
        "ledger": connection_to(database),
    }
    airflow = run_airflow(
        ".venv-cluster",
        DAGS,
        connections,
        database__sql_alchemy_conn=database.render_as_string(hide_password=False),
        logging__logging_level="INFO",
        # A busy machine slows tasks down, and none of them has died.
        scheduler__task_instance_heartbeat_timeout="120",
        **on_celery,
    )
    for name in WORKERS if on_celery else []:
        airflow.start_component(name, "celery", "worker", f"--celery-hostname={name}", "--skip-serve-logs")
    return airflow
