"""The engine of an Airflow connection, by its type; what a provider's own engine gets wrong is mended here."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine
from sqlalchemy.engine import URL, make_url

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection
    from airflow.providers.common.sql.hooks.sql import DbApiHook
    from sqlalchemy.engine import Engine

    Maker = Callable[[Any, Connection], Engine]


_CLICKHOUSE_OPTIONS = ("connect_timeout", "send_receive_timeout", "compress")


def sql_hook_of(connection: Connection) -> Any:
    """Return the hook that speaks SQL: of Databricks' two, Airflow knows the other one by the connection's type."""
    hook = connection.get_hook()  # type: ignore[no-untyped-call]  # Airflow's own
    if connection.conn_type != "databricks":
        return hook
    from airflow.providers.databricks.hooks.databricks_sql import DatabricksSqlHook

    extras = connection.extra_dejson
    schema = connection.schema or extras.get("schema")
    return DatabricksSqlHook(connection.conn_id, catalog=extras.get("catalog"), schema=schema)


def engine_of(hook: DbApiHook, connection: Connection) -> Engine:
    """Return the engine, with the connection's TLS options and other extras as the hook's own connections have them."""
    return _MAKERS.get(connection.conn_type or "", _by_the_hook)(hook, connection)


def module_of(error: ImportError) -> str:
    """Return the name of what could not be imported."""
    return (error.name or "its driver").partition(".")[0]


def _by_the_hook(hook: DbApiHook, connection: Connection) -> Engine:
    arguments: dict[str, Any] = {}
    ignored = getattr(hook, "ignored_extra_options", None)
    if ignored is not None:  # PostgresHook's: all others are libpq's, sslmode above all, and its engine forgets them
        options = {name: value for name, value in connection.extra_dejson.items() if name not in ignored}
        arguments = {"engine_kwargs": {"connect_args": options}} if options else {}
    engine: Engine = hook.get_sqlalchemy_engine(**arguments)
    return engine


def _mysql(hook: DbApiHook, connection: Connection) -> Engine:
    # The hook spells a blank as "+", which SQLAlchemy takes for a plus.
    url = make_url(hook.get_uri())
    url = url.set(username=connection.login, password=connection.password, database=connection.schema)
    ssl = connection.extra_dejson.get("ssl")
    options = {} if ssl is None else {"ssl": _as_object(ssl)}
    try:
        return create_engine(url, connect_args=options)
    except ImportError as error:
        # The hook's default is compiled, and so is often not there; PyMySQL needs no compiler.
        if module_of(error) != "MySQLdb" or find_spec("pymysql") is None:
            raise
    return create_engine(url.set(drivername="mysql+pymysql"), connect_args=options)


def _bigquery(hook: Any, connection: Connection) -> Engine:
    location = hook.location
    engine: Engine = hook.get_sqlalchemy_engine({"location": location} if location else None)
    return engine


def _clickhouse(hook: DbApiHook, connection: Connection) -> Engine:
    extras = connection.extra_dejson
    options = _as_object(extras.get("client_kwargs"))
    options |= {name: extras[name] for name in _CLICKHOUSE_OPTIONS if name in extras}
    options |= {"secure": bool(extras.get("secure", False)), "verify": bool(extras.get("verify", True))}
    if settings := _as_object(extras.get("session_settings")):
        options["settings"] = settings
    url = _url("clickhousedb", connection, default_port=8123, database=connection.schema or "default")
    url = url.set(username=connection.login or "default", password=connection.password)
    return create_engine(url, connect_args=options)


def _by_its_own_connections(
    drivername: str, default_port: int, database_of: Callable[[Connection], str | None]
) -> Maker:
    """Return a maker that has the hook connect: it knows logins that no URL can tell, such as IAM and wallets."""

    def make(hook: DbApiHook, connection: Connection) -> Engine:
        url = _url(drivername, connection, default_port=default_port, database=database_of(connection))
        return create_engine(url, creator=hook.get_conn)

    return make


def _schema(connection: Connection) -> str | None:
    return connection.schema or None


def _catalog(connection: Connection) -> str:
    # Trino's hook makes a URL that takes the schema for the catalog.
    catalog = str(connection.extra_dejson.get("catalog", "hive"))
    return f"{catalog}/{connection.schema}" if connection.schema else catalog


def _url(drivername: str, connection: Connection, *, default_port: int, database: str | None) -> URL:
    """Return the URL without the password, which whoever connects gives to the driver itself, unquoted."""
    return URL.create(
        drivername,
        username=connection.login,
        host=connection.host,
        port=connection.port or default_port,
        database=database,
    )


def _as_object(extra: Any) -> dict[str, Any]:
    return dict(json.loads(extra) if isinstance(extra, str) else extra or {})


_MAKERS: dict[str, Maker] = {
    "clickhouse": _clickhouse,
    "gcpbigquery": _bigquery,
    "mysql": _mysql,
    "oracle": _by_its_own_connections("oracle+oracledb", 1521, _schema),
    "redshift": _by_its_own_connections("redshift+redshift_connector", 5439, _schema),
    "trino": _by_its_own_connections("trino", 8080, _catalog),
}
"""By connection type; for all others the hook makes the engine."""
