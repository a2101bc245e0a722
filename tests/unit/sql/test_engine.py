"""From a connection id to an engine, through the hooks that Airflow's providers bring."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from airflow.models.connection import Connection as ModelConnection
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowOptionalProviderFeatureException,
)
from airflow.providers.common.compat.sdk import Connection as TaskConnection
from airflow.providers.common.sql.hooks.sql import DbApiHook
from airflow.providers.postgres.hooks.postgres import PostgresHook
from sqlalchemy.dialects.mysql.mysqldb import MySQLDialect_mysqldb
from sqlalchemy.engine import Engine

from airflow_provider_smspartner.exceptions import SMSPartnerConfigurationError, SMSPartnerUnavailableError
from airflow_provider_smspartner.sql.engine import make_engine
from tests.vault import Vault

SECRET = "p@ss/w0rd:%"

Connection = Callable[..., str]


@pytest.fixture
def warehouse(monkeypatch: pytest.MonkeyPatch) -> Connection:
    """Make the connection 'warehouse' of the given fields; return its id."""

    def warehouse(**fields: Any) -> str:
        monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(fields))
        return "warehouse"

    return warehouse


@pytest.fixture
def engine_of(warehouse: Connection) -> Iterator[Callable[..., Engine]]:
    engines: list[Engine] = []

    def engine_of(**fields: Any) -> Engine:
        engines.append(make_engine(warehouse(**fields)))
        return engines[-1]

    yield engine_of
    for engine in engines:
        engine.dispose()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[[type], None]:
    """Have every connection served by a hook of the test's own."""

    def serve(hook_class: type) -> None:
        serve_by(monkeypatch, lambda self: hook_class(self.conn_id))

    return serve


def serve_by(monkeypatch: pytest.MonkeyPatch, get_hook: Callable[[Any], Any]) -> None:
    """Replace how a connection finds its hook; Airflow 3.0 and 3.1 use the model, too, where no task runs."""
    for connection in (TaskConnection, ModelConnection):
        monkeypatch.setattr(connection, "get_hook", get_hook)


class WarehouseHook(DbApiHook):
    conn_name_attr = "warehouse_conn_id"


def connect_arguments(engine: Engine) -> dict[str, Any]:
    """Return what the driver would be called with."""
    given: dict[str, Any] = {}

    class EnoughError(Exception):
        pass

    @sa.event.listens_for(engine, "do_connect")
    def do_connect(dialect: object, record: object, arguments: object, keywords: dict[str, Any]) -> None:
        given.update(keywords)
        raise EnoughError

    with pytest.raises(EnoughError):
        engine.connect()
    return given


def told_of(conn_id: str) -> str:
    with pytest.raises(SMSPartnerConfigurationError) as caught:
        make_engine(conn_id)
    assert SECRET not in f"{caught.value} {caught.value.__cause__} {caught.value.__context__}"
    assert caught.value.__cause__ is caught.value.__context__ is None
    return str(caught.value)


@pytest.mark.parametrize("conn_type", ["sqlite", "duckdb"])
def test_a_file_is_written_and_no_error_or_log_shows_a_row(
    engine_of: Callable[..., Engine], tmp_path: Path, conn_type: str
) -> None:
    engine = engine_of(conn_type=conn_type, host=f"{tmp_path}/credits.db")
    assert engine.dialect.name == conn_type
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE credits (username VARCHAR(10) CHECK (length(username) > 9))"))
    with pytest.raises(sa.exc.DBAPIError) as caught, engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO credits VALUES (:name)"), {"name": "anna"})
    assert "anna" not in str(caught.value)
    assert "parameters hidden" in str(caught.value)


@pytest.mark.parametrize("uri", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "duckdb://", "duckdb:///:memory:"])
def test_a_database_in_memory_is_refused(warehouse: Connection, serve: Callable[[type], None], uri: str) -> None:
    class FileHook(WarehouseHook):
        def get_uri(self) -> str:
            return uri

    serve(FileHook)
    assert "is in memory" in told_of(warehouse(conn_type=uri.partition(":")[0]))


@pytest.mark.parametrize("conn_type", ["sqlite", "duckdb"])
def test_a_file_without_a_path_is_refused(warehouse: Connection, conn_type: str) -> None:
    assert "is in memory" in told_of(warehouse(conn_type=conn_type))


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_what_is_meant_for_libpq_reaches_the_driver(engine_of: Callable[..., Engine], driver: str) -> None:
    if driver == "psycopg" and sa.__version__ < "2":
        pytest.skip("SQLAlchemy 1.4 has no dialect for psycopg")
    libpq = {"sslmode": "verify-full", "sslrootcert": "/ca.pem", "options": "-csearch_path=a", "connect_timeout": 3}
    airflows = {"cursor": "dictcursor", "iam": False, "sqlalchemy_scheme": f"postgresql+{driver}"}
    engine = engine_of(conn_type="postgres", host="db", login="anna", password=SECRET, extra=libpq | airflows)
    assert engine.dialect.driver == driver
    given = connect_arguments(engine)
    assert given.items() >= libpq.items()
    assert given["password"] == SECRET
    assert not given.keys() & airflows.keys()


@pytest.mark.parametrize("ssl", [{"ca": "/ca.pem"}, '{"ca": "/ca.pem"}'])
def test_the_tls_of_a_mysql_connection_reaches_the_driver(
    engine_of: Callable[..., Engine], serve: Callable[[type], None], ssl: object
) -> None:
    class MySqlHook(WarehouseHook):
        def get_uri(self) -> str:
            return "mysql+pymysql://anna@db/credits?ssl=%7B%27ca%27%3A+%27%2Fca.pem%27%7D"

    serve(MySqlHook)
    engine = engine_of(conn_type="mysql", host="db", extra={"ssl": ssl})
    assert connect_arguments(engine)["ssl"] == {"ca": "/ca.pem"}


@pytest.mark.parametrize("ssl", [True, 1, ["/ca.pem"], "no JSON", '"/ca.pem"'], ids=repr)
def test_tls_options_of_another_type_are_refused_and_not_dropped(
    warehouse: Connection, serve: Callable[[type], None], ssl: object
) -> None:
    class MySqlHook(WarehouseHook):
        def get_uri(self) -> str:
            return "mysql+pymysql://anna@db/credits"

    serve(MySqlHook)
    assert "its fields and extras make no database URL" in told_of(warehouse(conn_type="mysql", extra={"ssl": ssl}))


def test_a_hook_that_takes_no_options_gets_none(warehouse: Connection, serve: Callable[[type], None]) -> None:
    class OldHook(WarehouseHook):
        def get_sqlalchemy_engine(self) -> Engine:
            return sa.create_engine("postgresql+psycopg2://db/credits")

    serve(OldHook)
    # The extra is libpq's and MySQL's word for TLS, and this is neither's connection.
    engine = make_engine(warehouse(conn_type="exotic", extra={"ssl": {"ca": "/ca.pem"}}))
    assert (engine.dialect.name, engine.hide_parameters) == ("postgresql", True)
    assert "ssl" not in connect_arguments(engine)


def test_a_connection_that_is_not_there_is_named() -> None:
    assert told_of("nowhere").startswith("SQL connection 'nowhere': there is no such connection")


def test_a_secrets_backend_that_is_away_is_a_transient_error(vault: type[Vault]) -> None:
    vault.holds["warehouse"] = '{"conn_type": "sqlite", "host": "/tmp/credits.db"}'
    vault.failures = iter([ConnectionError("S3cr3t"), ConnectionError("S3cr3t")])
    with pytest.raises(SMSPartnerUnavailableError) as failure:
        make_engine("warehouse")
    assert str(failure.value) == (
        "SQL connection 'warehouse': Airflow could not look it up (ConnectionError); it may pass by itself"
    )
    assert failure.value.__context__ is None
    assert make_engine("warehouse").dialect.name == "sqlite"


def test_a_connection_that_cannot_be_read_is_not_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_BROKEN", '{"conn_type": "sqlite", "password": "S3cr3t"')
    assert told_of("broken") == "SQL connection 'broken': it cannot be read: write it as a JSON object, or as a URI"


@pytest.mark.parametrize(
    ("conn_type", "module", "package"),
    [
        ("clickhouse", "clickhousedb", "'airflow-provider-smspartner[clickhouse]'"),
        ("databricks", "databricks", "'airflow-provider-smspartner[databricks]'"),
        ("gcpbigquery", "google", "'airflow-provider-smspartner[bigquery]'"),
        ("mssql", "microsoft", "'airflow-provider-smspartner[mssql]'"),
        ("mysql", "mysql", "pymysql && pip install --no-deps apache-airflow-providers-mysql"),
        ("oracle", "oracle", "'airflow-provider-smspartner[oracle]'"),
        ("redshift", "amazon", "'airflow-provider-smspartner[redshift]'"),
        ("snowflake", "snowflake", "'airflow-provider-smspartner[snowflake]'"),
        ("trino", "trino", "'airflow-provider-smspartner[trino]'"),
    ],
)
def test_a_type_without_its_provider_is_told_what_to_install(
    warehouse: Connection, conn_type: str, module: str, package: str
) -> None:
    if find_spec(f"airflow.providers.{module}"):
        pytest.skip("its provider is installed")
    told = told_of(warehouse(conn_type=conn_type, password=SECRET))
    assert f"no installed provider serves its type, '{conn_type}': pip install {package}" in told


def test_a_type_that_nobody_knows_is_named(warehouse: Connection) -> None:
    assert "no installed provider serves its type, 'exotic': install that" in told_of(warehouse(conn_type="exotic"))


@pytest.mark.parametrize("conn_type", ["generic", "email", "fs", "smspartner", "", None])
def test_a_type_without_a_sql_hook_is_named(warehouse: Connection, conn_type: str | None) -> None:
    told = told_of(warehouse(conn_type=conn_type, password=SECRET, host="db"))
    assert told.startswith(f"SQL connection 'warehouse': its type, '{conn_type or ''}', has no SQL hook: name the")


@pytest.mark.skipif(
    not hasattr(PostgresHook, "sqlalchemy_scheme"), reason="before version 7 the Postgres provider chooses the driver"
)
@pytest.mark.parametrize(
    ("scheme", "told"),
    [
        ("postgresql+pg8000", "pg8000 cannot be imported: pip install 'airflow-provider-smspartner[postgres]'"),
        (
            "postgresql+nonesuch",
            "SQLAlchemy has no dialect for it: pip install 'airflow-provider-smspartner[postgres]'",
        ),
        ("mysql", "its fields and extras make no database URL (ValueError)"),
    ],
)
def test_a_driver_or_dialect_that_is_missing_is_named(warehouse: Connection, scheme: str, told: str) -> None:
    conn_id = warehouse(conn_type="postgres", host="db", password=SECRET, extra={"sqlalchemy_scheme": scheme})
    assert f"SQL connection 'warehouse': {told}" in told_of(conn_id)


@pytest.mark.parametrize(
    ("conn_type", "error", "told"),
    [
        ("postgres", ImportError(SECRET, name="psycopg2"), "psycopg2 cannot be imported: pip install psycopg2-binary"),
        ("postgres", ImportError(SECRET, name="psycopg.pq"), "pip install 'psycopg[binary]'"),
        ("exotic", ImportError(SECRET, name="mysql.connector"), "pip install mysql-connector-python"),
        ("exotic", ImportError(SECRET), "its driver cannot be imported: install that database's Airflow provider"),
        ("duckdb", sa.exc.NoSuchModuleError(SECRET), "pip install 'airflow-provider-smspartner[duckdb]'"),
        (
            "oracle",
            AirflowOptionalProviderFeatureException(SECRET),
            "pip install 'airflow-provider-smspartner[oracle]'",
        ),
        ("exotic", NotImplementedError(SECRET), "WithoutEngineHook makes no SQLAlchemy engine"),
        ("exotic", sa.exc.ArgumentError(SECRET), "make no database URL (ArgumentError)"),
        ("exotic", TypeError(SECRET), "make no database URL (TypeError)"),
        ("exotic", ValueError(SECRET), "make no database URL (ValueError)"),
    ],
)
def test_whatever_keeps_a_hook_from_an_engine_is_told_without_its_text(
    warehouse: Connection, serve: Callable[[type], None], conn_type: str, error: Exception, told: str
) -> None:
    class WithoutEngineHook(WarehouseHook):
        def get_sqlalchemy_engine(self, engine_kwargs: object = None) -> Engine:
            raise error

    serve(WithoutEngineHook)
    assert told in told_of(warehouse(conn_type=conn_type))


def test_a_hook_that_logs_its_url_at_debug_shows_no_password(
    warehouse: Connection, serve: Callable[[type], None], caplog: pytest.LogCaptureFixture
) -> None:
    class TalkativeHook(WarehouseHook):
        def get_sqlalchemy_engine(self, engine_kwargs: object = None) -> Engine:
            self.log.debug("url: %s", SECRET)
            return sa.create_engine("sqlite:////tmp/never-made.db")

    serve(TalkativeHook)
    talk = TalkativeHook().log
    if not isinstance(talk, logging.Logger):
        pytest.skip("where hooks log by structlog, SQLAlchemy is one that shows no password in a URL")
    talk.addHandler(caplog.handler)
    talk.setLevel(logging.DEBUG)
    make_engine(warehouse(conn_type="exotic")).dispose()
    TalkativeHook().log.debug("heard again")
    talk.removeHandler(caplog.handler)
    assert (SECRET in caplog.text, "heard again" in caplog.text) == (False, True)


@pytest.mark.parametrize("module", ["MySQLdb", "MySQLdb._mysql"])
@pytest.mark.parametrize("has_pymysql", [True, False])
def test_mysql_without_mysqlclient_goes_over_pymysql_or_asks_for_it(
    warehouse: Connection,
    serve: Callable[[type], None],
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    has_pymysql: bool,
) -> None:
    class MySqlHook(WarehouseHook):
        def get_uri(self) -> str:
            return "mysql://anna@db:3307/odd+name?charset=utf8mb4"

    def import_dbapi(cls: object) -> None:
        raise ImportError(SECRET, name=module)

    for name in ("import_dbapi", "dbapi"):  # SQLAlchemy 1.4 has the second
        monkeypatch.setattr(MySQLDialect_mysqldb, name, classmethod(import_dbapi), raising=False)
    serve(MySqlHook)
    conn_id = warehouse(
        conn_type="mysql", login="anna", password="a b+c", schema="odd name", extra={"ssl": {"ca": "/ca.pem"}}
    )
    if not has_pymysql:
        monkeypatch.setattr("airflow_provider_smspartner.sql.connections.find_spec", lambda _: None)
        assert told_of(conn_id).endswith("MySQLdb cannot be imported: pip install pymysql")
        return
    engine = make_engine(conn_id)
    assert (engine.dialect.name, engine.dialect.driver, engine.hide_parameters) == ("mysql", "pymysql", True)
    given = connect_arguments(engine)
    assert given.items() >= {"user": "anna", "password": "a b+c", "database": "odd name"}.items()
    assert given.items() >= {"host": "db", "port": 3307, "charset": "utf8mb4"}.items()
    assert given["ssl"] == {"ca": "/ca.pem"}


def test_a_url_that_cannot_be_read_is_not_shown(warehouse: Connection, serve: Callable[[type], None]) -> None:
    class OddHook(WarehouseHook):
        def get_uri(self) -> str:
            return f"no url: {SECRET}"

    serve(OddHook)
    assert "make no database URL" in told_of(warehouse(conn_type="exotic"))


def test_a_hook_that_cannot_be_imported_is_told_what_to_install(
    warehouse: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def get_hook(self: object) -> None:
        raise ModuleNotFoundError(SECRET, name="duckdb")

    serve_by(monkeypatch, get_hook)
    assert "duckdb cannot be imported: pip install 'airflow-provider-smspartner[duckdb]'" in told_of(
        warehouse(conn_type="duckdb")
    )


def test_what_a_provider_itself_says_of_its_connection_is_left_as_it_is(
    warehouse: Connection, serve: Callable[[type], None]
) -> None:
    class StrictHook(WarehouseHook):
        def __init__(self, conn_id: str) -> None:
            raise AirflowException("host and schema cannot both be set")

    serve(StrictHook)
    with pytest.raises(AirflowException, match="cannot both be set"):
        make_engine(warehouse(conn_type="exotic"))


def test_each_extra_that_an_error_names_is_one_of_the_package() -> None:
    from airflow_provider_smspartner.sql.engine import _EXTRAS

    declared = set(distribution("airflow-provider-smspartner").metadata.get_all("Provides-Extra") or ())
    assert set(_EXTRAS.values()) <= declared
