"""One machine: SQLite, tasks beside the scheduler, and nothing installed but the wheel and what it asks for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from tests.listeners import Collector, StatsD
from tests.spellings import PLANTED
from tests.system import waiting_gates
from tests.system.airflow import Airflow

DAGS = Path(__file__).parent / "dags"

KEYS = {
    **waiting_gates.KEYS,
    "watched": PLANTED["part of the URL"],  # which has 5 characters
}


def _sandbox(balance: str, *conn_ids: str) -> SMSPartnerSandbox:
    """Return an account of which one SMS costs 1, with a key for each connection."""
    return SMSPartnerSandbox(balance, [KEYS[conn_id] for conn_id in conn_ids], prices={"sms": 1})


@pytest.fixture(scope="session")
def keys() -> dict[str, str]:
    """Return the API key of each Airflow connection."""
    return KEYS


@pytest.fixture(scope="session")
def account() -> Iterator[SMSPartnerSandbox]:
    """Serve an account that can pay for no campaign, under two keys."""
    with _sandbox("10", "campaigns", "subaccount") as account:
        yield account


@pytest.fixture(scope="session")
def revoked() -> Iterator[SMSPartnerSandbox]:
    """Serve another one, whose key will be the wrong one soon."""
    with _sandbox("10", "revoked") as revoked:
        yield revoked


@pytest.fixture(scope="session")
def watched() -> Iterator[SMSPartnerSandbox]:
    """Serve an account between the thresholds of the two watchers."""
    with _sandbox("600", "watched") as watched:
        yield watched


@pytest.fixture(scope="session")
def metrics() -> Iterator[StatsD | Collector]:
    """Take Airflow's metrics: by StatsD, or with METRICS=otel by OpenTelemetry, whose thread may hang a fork."""
    with Collector() if os.environ.get("METRICS") == "otel" else StatsD() as metrics:
        yield metrics


@pytest.fixture(scope="session")
def airflow(
    run_airflow: Callable[..., Airflow],
    account: SMSPartnerSandbox,
    watched: SMSPartnerSandbox,
    metrics: StatsD | Collector,
) -> Airflow:
    """Run Airflow until the last test has ended."""
    connections = {conn_id: account.connection_json(KEYS[conn_id]) for conn_id in ("campaigns", "subaccount")}
    connections["watched"] = watched.connection_json()
    return run_airflow(".venv-system", DAGS, connections, core__test_connection="Enabled", **metrics.settings)
