"""An Airflow home of the tests' own, made before anything imports Airflow."""

from __future__ import annotations

import asyncio
import atexit
import importlib
import json
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from tests.airflow_versions import AIRFLOW, run_to_its_end
from tests.at_exit import mute_duckdb
from tests.once_asked import once_asked
from tests.servers import Clients, serving
from tests.spellings import KEY, told

if TYPE_CHECKING:
    from airflow.models import DagRun

    from airflow_provider_smspartner.account import Account
    from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook
    from tests.vault import Vault

Connect = Callable[..., str]
Ask = Callable[["SMSPartnerHook"], "Account"]

_HOME = tempfile.TemporaryDirectory(prefix="airflow-smspartner-tests-")
ENVIRONMENT = dict(os.environ)
"""This machine's own, for a test that installs packages by way of its proxies and certificates."""

# What this machine has of them must not decide how a test ends.
_DECIDES = re.compile(r"AIRFLOW_.*|SMSPARTNER_.*|(?i:.*_proxy)|(REQUESTS|CURL)_CA_BUNDLE|SSL_CERT_(FILE|DIR)|NETRC")
for _name in [name for name in os.environ if _DECIDES.fullmatch(name)]:
    del os.environ[_name]
os.environ |= {
    "AIRFLOW_HOME": _HOME.name,
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).parents[1] / "example_dags"),
}

# Now, as it brings filters of its own for whatever is called airflow*, which else would come before pytest's: a warning
# that this package causes is to be an error.
importlib.import_module("airflow.configuration")
# And this before a test patches asyncio.sleep, which it would keep for all tests to come.
importlib.import_module("anyio._backends._asyncio")


atexit.register(mute_duckdb)


@dataclass(frozen=True)
class TaskOutcome:
    """How a task ended: its state, its XCom, the number of the try that it ended with, and what it logged."""

    state: str
    xcom: Any
    tries: int
    log: str


@pytest.fixture(autouse=True)
def _no_log_holds_the_key(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Hold every test to it: nothing that is logged, at DEBUG too, spells the key of the sandbox fixture."""
    for logger in ("urllib3", "aiohttp", "airflow.task", "airflow_provider_smspartner"):
        caplog.set_level(logging.DEBUG, logger)
    yield
    records = [record for when in ("setup", "call") for record in caplog.get_records(when)]
    logged = "\n".join(f"{record.getMessage()} {record.exc_text} {record.__dict__}" for record in records)
    assert told(KEY, logged) == []


@pytest.fixture
def sandbox() -> Iterator[SMSPartnerSandbox]:
    """Serve the account of the vendor's JSON sample, under a key that is spelled differently in a URL."""
    with SMSPartnerSandbox(balance="10225.119", api_key=KEY) as sandbox:
        yield sandbox


@pytest.fixture
def once_it_waits() -> Callable[..., AbstractContextManager[None]]:
    """Act on a sandbox as soon as a gate has asked it twice: ``with once_it_waits(sandbox, act): …``."""
    return lambda sandbox, act: once_asked(sandbox, 2, act)


@pytest.fixture
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lift the floor under the interval, so that a deferred gate polls as quickly as the others."""
    monkeypatch.setattr("airflow_provider_smspartner.triggers.readings.SHORTEST_INTERVAL", 0.01)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Collect the pauses on an event loop instead of sitting through them."""
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def pause(seconds: float, result: object = None) -> None:
        if seconds:
            pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr("asyncio.sleep", pause)
    return pauses


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Make an Airflow connection to a sandbox: ``connect(sandbox, conn_id, api_key=…, host=…, **extras)``."""

    def connect(
        sandbox: SMSPartnerSandbox, conn_id: str = "smspartner_default", *, host: str | None = None, **given: Any
    ) -> str:
        fields = json.loads(sandbox.connection_json(**given))
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields | {"host": host or fields["host"]}))
        return conn_id

    return connect


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Vault]]:
    """Have Airflow look connections up in a company's own secrets backend, before it looks elsewhere."""
    monkeypatch.setenv("AIRFLOW__SECRETS__BACKEND", "tests.vault.Vault")
    with suppress(ImportError):  # from Airflow 3.2 on, a process keeps the backends that it has made
        monkeypatch.setattr("airflow.sdk.configuration._secrets_backend_cache", {}, raising=False)
    from tests.vault import Vault

    yield Vault
    Vault.holds.clear()
    Vault.failures = iter(())


@pytest.fixture
def clients() -> Iterator[Clients]:
    """Serve clients that keep their connections open."""
    clients = Clients()
    with serving(clients) as clients.port:
        yield clients


async def _ask_on_a_loop(hook: SMSPartnerHook) -> Account:
    try:
        return await hook.aget_account()
    finally:
        await hook.aclose()


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Ask in both ways: they must not differ in what they return or raise."""
    from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook

    if request.param == "sync":
        return SMSPartnerHook.get_account
    return lambda hook: asyncio.run(_ask_on_a_loop(hook))


@pytest.fixture(scope="session")
def airflow_db() -> None:
    """Make Airflow's metadata database, on SQLite in the tests' own home."""
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture
def run_dag(airflow_db: None) -> Callable[..., DagRun]:
    """Run a DAG that a test has made to its end, on real Airflow in this process; return its run."""
    return run_to_its_end


@pytest.fixture
def task_log(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """Return what tasks have logged since the last call: Airflow prints it, and before 3.2 leaves some to logging."""
    begins = 0

    def task_log() -> str:
        nonlocal begins
        printed, logged = capfd.readouterr().out, caplog.text[begins:]
        begins = len(caplog.text)
        return printed if AIRFLOW >= (3, 2) else printed + logged

    return task_log


@pytest.fixture
def run_task(run_dag: Callable[..., DagRun], task_log: Callable[[], str]) -> Callable[..., TaskOutcome]:
    """Run one task in a DAG of its own: ``run_task(CreditsSensor, min_credits=5)``; return how it ended."""
    from airflow.providers.common.compat.sdk import DAG

    def run_task(task_class: Callable[..., Any], /, **arguments: Any) -> TaskOutcome:
        with DAG(f"test_{uuid4().hex}", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
            task_class(task_id="task", **arguments)
        task_log()
        (instance,) = run_dag(dag).get_task_instances()
        log = task_log()
        assert told(KEY, log) == []
        return TaskOutcome(str(instance.state), instance.xcom_pull(task_ids="task"), instance.try_number, log)

    return run_task
