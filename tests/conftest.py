"""An Airflow home of the tests' own, made before anything imports Airflow."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox

Connect = Callable[..., str]

_HOME = tempfile.TemporaryDirectory(prefix="airflow-smspartner-tests-")
for _name in [name for name in os.environ if name.startswith(("AIRFLOW_", "SMSPARTNER_"))]:
    del os.environ[_name]
os.environ |= {
    "AIRFLOW_HOME": _HOME.name,
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).parents[1] / "example_dags"),
    # A proxy of the machine's must not stand between the tests and loopback.
    "NO_PROXY": "127.0.0.1,localhost",
}


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
