"""A postgres connection's fields, all the way to a real server: above all that TLS is not lost on the way."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa

pytest.importorskip("airflow.providers.postgres")

from airflow_provider_smspartner.sql.engine import make_engine


@pytest.fixture
def warehouse(place: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make the connection 'warehouse' to the place's server, with its driver; return what gives its engine."""
    if place.url.host is None:
        pytest.skip("libpq looks for TLS over TCP alone, and this server has a Unix socket")

    def warehouse(**extra: Any) -> sa.engine.Engine:
        fields = {
            "conn_type": "postgres",
            "host": place.url.host,
            "port": place.url.port,
            "login": place.url.username,
            "password": place.url.password,
            "schema": place.root.url.database,
            "extra": extra,
        }
        monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(fields))
        return make_engine("warehouse")

    return warehouse


on_postgresql = pytest.mark.parametrize("place", ["postgresql+psycopg", "postgresql+psycopg2"], indirect=True)


@on_postgresql
def test_sslmode_is_never_dropped_in_favour_of_clear_text(place: Any, warehouse: Any) -> None:
    engine = warehouse(sslmode="require", sqlalchemy_scheme=place.root.url.drivername)
    assert engine.dialect.driver == place.root.dialect.driver
    if place.execute("SHOW ssl") == [("on",)]:
        with engine.connect() as connection:
            query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            assert connection.execute(sa.text(query)).scalar() is True
    else:
        with pytest.raises(sa.exc.OperationalError, match="server does not support SSL, but SSL was required"):
            engine.connect()
    engine.dispose()


@on_postgresql
def test_libpqs_options_hold_for_the_engine(place: Any, warehouse: Any) -> None:
    extras = {"options": f"-csearch_path={place.name}", "application_name": "campaigns", "sslmode": "prefer"}
    engine = warehouse(**extras, sqlalchemy_scheme=place.root.url.drivername)
    with engine.connect() as connection:
        assert connection.execute(sa.text("SHOW search_path")).scalar() == place.name
        assert connection.execute(sa.text("SHOW application_name")).scalar() == "campaigns"
    engine.dispose()
