"""Several machines: two Celery workers, Redis between them and the scheduler, PostgreSQL for all the rest."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from tests.listeners import StatsD
from tests.spellings import KEY
from tests.system import waiting_gates
from tests.system.airflow import Airflow
from tests.system.celery.servers import (
    POSTGRESQL,
    REDIS,
    Redis,
    connection_to,
    made_database,
    recorded,
    taken_redis_database,
)

HERE, REPOSITORY = Path(__file__).parent, Path(__file__).parents[3]

DAG_FILES = [
    REPOSITORY / "tests/system/one_machine/dags/gates.py",
    REPOSITORY / "example_dags/smspartner_gate_campaign.py",
    REPOSITORY / "example_dags/smspartner_many_accounts.py",
    HERE / "dags/on_workers.py",
]
"""What runs on one machine, and what is documented, runs here too."""

ACCOUNTS = ["smspartner_default", "smspartner_paris", "smspartner_lyon", "smspartner_nantes"]
"""Whom the documented DAGs ask."""

KEYS = {
    **waiting_gates.KEYS,
    **{conn_id: f"{KEY}{conn_id}" for conn_id in ["held", *ACCOUNTS]},
}

BALANCES = {"smspartner_paris": "100.001", "smspartner_lyon": "2500.5", "smspartner_nantes": "0"}

AT_ONCE = 4
"""Tasks that one worker runs at the same time."""


@dataclass(frozen=True)
class Servers:
    """What the machines have in common."""

    metadata: URL
    warehouse: URL
    redis: Redis
    redis_number: int
    queue: str


@pytest.fixture(scope="session")
def servers(airflow_home: Path, leave_out: Callable[[str], NoReturn]) -> Iterator[Servers]:
    """Make databases and a queue of the test's own on PostgreSQL and Redis; write down what passes through Redis."""
    with ExitStack() as taken:
        try:
            redis, number = taken.enter_context(taken_redis_database())
            metadata = taken.enter_context(made_database("metadata"))
            warehouse = taken.enter_context(made_database("warehouse"))
        except (OSError, sa.exc.OperationalError) as error:
            where = f"{REDIS} and PostgreSQL at {POSTGRESQL.host}:{POSTGRESQL.port}"
            leave_out(f"this needs an empty database on {where}: {type(error).__name__}")
        taken.enter_context(recorded(number, airflow_home / "redis.log"))
        yield Servers(metadata, warehouse, redis, number, queue=metadata.database or "")


@pytest.fixture(scope="session")
def accounts() -> Iterator[dict[str, SMSPartnerSandbox]]:
    """Serve the accounts by conn id; one SMS costs 1. Two connections lead to one account."""
    with ExitStack() as running:
        accounts = {}
        for conn_id, key in KEYS.items():
            keys = [key, KEYS["subaccount"]] if conn_id == "campaigns" else [key]
            sandbox = SMSPartnerSandbox(BALANCES.get(conn_id, "10"), keys, prices={"sms": 1})
            accounts[conn_id] = running.enter_context(sandbox)
        yield accounts | {"subaccount": accounts["campaigns"]}


@pytest.fixture(scope="session")
def keys() -> dict[str, str]:
    """Return the API key of each Airflow connection."""
    return KEYS


@pytest.fixture(scope="session")
def statsd() -> Iterator[StatsD]:
    """Take Airflow's metrics as a StatsD server does."""
    with StatsD() as statsd:
        yield statsd


@pytest.fixture(scope="session")
def airflow(
    servers: Servers,
    accounts: dict[str, SMSPartnerSandbox],
    run_airflow: Callable[..., Airflow],
    airflow_home: Path,
    statsd: StatsD,
) -> Airflow:
    """Run Airflow until the last test has ended, all but its workers."""
    connections = {name: accounts[name].connection_json(key) for name, key in KEYS.items() if name != "revoked"}
    connections["warehouse"] = connection_to(servers.warehouse)
    dags = airflow_home / "dags"
    dags.mkdir()
    for file in DAG_FILES:
        shutil.copy(file, dags)
    metadata = servers.metadata.render_as_string(hide_password=False)
    return run_airflow(
        ".venv-cluster",
        dags,
        connections,
        celery__broker_url=f"{REDIS}/{servers.redis_number}",
        celery__result_backend=f"db+{metadata}",
        celery__worker_concurrency=str(AT_ONCE),
        core__executor="CeleryExecutor",
        core__hostname_callable="getpass.getuser",
        database__sql_alchemy_conn=metadata,
        operators__default_queue=servers.queue,
        # A task whose worker was lost is tried again soon.
        scheduler__task_instance_heartbeat_timeout="30",
        scheduler__task_instance_heartbeat_timeout_detection_interval="3",
        # A try is not to be lost to two cores that are slow at times.
        workers__execution_api_timeout="60",
        **statsd.settings,
    )
