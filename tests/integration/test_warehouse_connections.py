"""From an Airflow connection to a warehouse's engine: the right dialect, the password as it is, and told to nobody."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from sqlalchemy.engine import Engine

from airflow_provider_smspartner.exceptions import SMSPartnerConfigurationError
from airflow_provider_smspartner.sql.engine import make_engine
from airflow_provider_smspartner.sql.snapshots import Snapshot, snapshot_table, write_snapshots
from airflow_provider_smspartner.sql.tables import prepare_table
from tests.integration import warehouses

pytestmark = pytest.mark.warehouses
pytest.importorskip("chdb")

SECRET = "p@ss/w0rd:%?#+ é"
BASE = {"host": "warehouse.example", "login": "anna", "password": SECRET, "schema": "analytics"}


@pytest.fixture
def engine_of(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Any]:
    """Make the engine of a connection of these fields, and hold it to it that nothing tells the password."""
    caplog.set_level(logging.DEBUG)
    engines: list[Engine] = []

    def engine_of(conn_type: str, **fields: Any) -> Engine:
        monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": conn_type} | BASE | fields))
        engines.append(make_engine("warehouse"))
        return engines[-1]

    yield engine_of
    for engine in engines:
        assert "w0rd" not in f"{engine!r} {engine.url} {caplog.text}"
        engine.dispose()


def test_clickhouse_gets_its_database_port_and_password(engine_of: Any) -> None:
    engine = engine_of("clickhouse", port=8443, extra={"secure": True, "session_settings": {"max_threads": 2}})
    assert (engine.dialect.name, engine.url.database, engine.url.port) == ("clickhousedb", "analytics", 8443)
    assert engine.url.password == SECRET


def test_sql_server_gets_the_password_as_it_is(engine_of: Any) -> None:
    engine = engine_of("mssql", port=1433)
    assert (engine.dialect.name, engine.url.database, engine.url.password) == ("mssql", "analytics", SECRET)


@pytest.mark.parametrize(
    ("conn_type", "dialect", "hook"),
    [
        ("oracle", "oracle", "airflow.providers.oracle.hooks.oracle.oracledb.connect"),
        ("redshift", "redshift", "airflow.providers.amazon.aws.hooks.redshift_sql.redshift_connector.connect"),
        ("trino", "trino", "airflow.providers.trino.hooks.trino.trino.dbapi.connect"),
    ],
)
def test_a_hook_that_knows_more_than_a_url_connects_by_itself(
    engine_of: Any, monkeypatch: pytest.MonkeyPatch, conn_type: str, dialect: str, hook: str
) -> None:
    # None of the three can be had: what is seen is what its driver is asked for.
    asked: list[dict[str, Any]] = []

    def connect(*_: Any, **named: Any) -> Any:
        asked.append(named)
        raise OSError("nobody is there")

    monkeypatch.setattr(hook, connect)
    engine = engine_of(conn_type)
    assert (engine.dialect.name, engine.url.password) == (dialect, None)
    with pytest.raises(OSError, match="nobody is there"):
        engine.connect()
    (named,) = asked
    assert "anna" in (named.get("user"), named.get("username"))
    assert SECRET in (named.get("password"), getattr(named.get("auth"), "_password", None))


def test_trino_takes_the_catalog_of_the_extras_and_the_schema_of_the_connection(engine_of: Any) -> None:
    assert engine_of("trino", extra={"catalog": "lake"}).url.database == "lake/analytics"
    assert engine_of("trino").url.database == "hive/analytics"


def test_redshift_by_iam_asks_for_a_password_when_it_connects_and_not_before(engine_of: Any) -> None:
    engine = engine_of("redshift", password=None, extra={"iam": True, "cluster_identifier": "cluster"})
    assert (engine.dialect.name, engine.url.host, engine.url.port) == ("redshift", "warehouse.example", 5439)


def test_databricks_means_its_sql_hook(engine_of: Any) -> None:
    path = "/sql/1.0/warehouses/abc"
    engine = engine_of("databricks", login=None, extra={"http_path": path, "catalog": "main"})
    assert engine.dialect.name == "databricks"
    assert dict(engine.url.query) == {"http_path": path, "catalog": "main", "schema": "analytics"}


def test_a_google_connection_that_speaks_no_sql_names_the_one_that_does(engine_of: Any) -> None:
    with pytest.raises(SMSPartnerConfigurationError, match="make a connection of type 'gcpbigquery'"):
        engine_of("google_cloud_platform")


def test_bigquery_without_a_key_is_told_in_our_words(engine_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(SMSPartnerConfigurationError, match="make no database URL .*: check each of them"):
        engine_of("gcpbigquery", extra={"project": warehouses.PROJECT})


@pytest.fixture
def google_key() -> Iterator[dict[str, str]]:
    """Return a made-up key of a service account, whose tokens come from this machine."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    class Tokens(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.dumps({"access_token": "made-up", "token_type": "Bearer", "expires_in": 3600}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), Tokens) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {
            "type": "service_account",
            "project_id": warehouses.PROJECT,
            "private_key_id": "1",
            "private_key": key.decode(),
            "client_email": "anna@smspartner.iam.gserviceaccount.com",
            "client_id": "1",
            "token_uri": f"http://127.0.0.1:{server.server_port}/token",
        }
        server.shutdown()


def test_bigquery_is_written_over_a_connection_of_airflows(
    bigquery_address: str, google_key: dict[str, str], engine_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", bigquery_address)
    root = warehouses.bigquery_client(bigquery_address)
    root.create_dataset("over_a_connection")
    extra = {"project": warehouses.PROJECT, "keyfile_dict": json.dumps(google_key), "location": "US"}
    engine = engine_of("gcpbigquery", extra=extra)
    assert engine.dialect.location == "US"
    row = Snapshot(datetime(2026, 7, 1, tzinfo=UTC), "paris", 5, None, None, 0, None, "EUR", "d", "t", "r", -1, None)
    table = snapshot_table("credits", "over_a_connection")
    # Before the write, as the stand-in answers an error of this way of asking with status 200, where BigQuery says 404.
    prepare_table(engine, table, create_table=True)
    for _ in range(2):
        assert write_snapshots(engine, table, [row]) == [row]
    (found,) = root.query("SELECT count(*) FROM over_a_connection.credits").result()
    assert found[0] == 1
    root.delete_dataset("over_a_connection", delete_contents=True)
    root.close()
