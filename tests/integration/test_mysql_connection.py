"""From a real `mysql` connection of Airflow's to rows: over each driver of its hook, and without mysqlclient."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from importlib.util import find_spec
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from airflow_provider_smspartner.account import Account, Credits, User
from airflow_provider_smspartner.exceptions import SMSPartnerConfigurationError
from airflow_provider_smspartner.sql.engine import make_engine
from airflow_provider_smspartner.sql.snapshots import Snapshot, TaskInstanceRef, snapshot_table, write_snapshots
from tests.integration.conftest import Place, make_place, reach

if find_spec("airflow.providers.mysql") is None and "TEST_MYSQL" not in os.environ:
    pytest.skip("Airflow's MySQL provider has an environment of its own: make mysql", allow_module_level=True)

PASSWORD = "Pa55 of+the/warehouse"
TABLE = snapshot_table("credits")
SNAPSHOT = Snapshot.of(
    Account(
        User(None, None, None),
        Credits(5, 6, 7, 0, Decimal("10225.119"), "EUR"),
        datetime(2026, 7, 1, 12, 0, 0, 123456, tzinfo=UTC),
    ),
    "smspartner_default",
    TaskInstanceRef("campaign é 🎉", "snapshot", "manual__1"),
)


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with make_place(reach(request, "mysql+pymysql"), "mysql+pymysql") as place:
        yield place


@pytest.fixture
def warehouse(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Engine]]:
    """Make a login and the connection 'warehouse' for it; return what gives its engine."""
    login, engines = f"guest_{secrets.token_hex(4)}", []
    place.execute(f"CREATE USER {login} IDENTIFIED BY '{PASSWORD}'", f"GRANT ALL ON {place.name}.* TO {login}")

    def warehouse(*, password: str = PASSWORD, **extra: Any) -> Engine:
        fields = {
            "conn_type": "mysql",
            "host": place.url.host,
            "port": place.url.port,
            "login": login,
            "password": password,
            "schema": place.name,
            "extra": extra,
        }
        monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(fields))
        engines.append(make_engine("warehouse"))
        return engines[-1]

    yield warehouse
    for engine in engines:
        engine.dispose()
    place.execute(f"DROP USER {login}")


@pytest.fixture(params=["mysqldb", "pymysql", "mysqlconnector", "no mysqlclient"])
def driver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, dict[str, str]]:
    """Return a driver, and the extra that Airflow's hook takes it by."""
    if request.param == "no mysqlclient":
        monkeypatch.setitem(sys.modules, "MySQLdb", None)
        return "pymysql", {}
    client = {"mysqlconnector": {"client": "mysql-connector-python"}, "pymysql": {"client": "pymysql"}}
    return request.param, client.get(request.param, {})


def test_a_mysql_connection_leads_to_rows_over_each_driver(
    place: Place, warehouse: Callable[..., Engine], driver: tuple[str, dict[str, str]]
) -> None:
    name, extra = driver
    engine = warehouse(**extra, charset="utf8mb4")
    assert (engine.dialect.name, engine.dialect.driver) == ("mysql", name)
    for sms in (1, 2):
        write_snapshots(engine, TABLE, [replace(SNAPSHOT, credit_sms=sms)])
    with engine.connect() as connection:
        (row,) = connection.execute(sa.select(TABLE)).mappings()
    assert dict(row) == vars(replace(SNAPSHOT, credit_sms=2))
    assert place.execute(f"SELECT captured_at FROM {place.name}.credits") == [(datetime(2026, 7, 1, 12, 0, 0, 123456),)]  # noqa: DTZ001  # as MySQL holds it


def test_a_wrong_password_is_told_with_the_connection_s_name_alone(
    warehouse: Callable[..., Engine], driver: tuple[str, dict[str, str]]
) -> None:
    engine = warehouse(password="Wr0ng", **driver[1])
    with pytest.raises(SMSPartnerConfigurationError) as caught:
        write_snapshots(engine, TABLE, [SNAPSHOT])
    assert str(caught.value) == (
        "SQL connection 'warehouse', table 'credits': the database refuses the login: "
        "check the connection's login and password"
    )
