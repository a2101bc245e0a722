"""From an Airflow connection id to a SQLAlchemy engine, or to the word on what is missing for one."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowNotFoundException,
    AirflowOptionalProviderFeatureException,
    BaseHook,
)
from airflow.providers.common.sql.hooks.sql import DbApiHook
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

from airflow_provider_smspartner.exceptions import SMSPartnerConfigurationError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection
    from sqlalchemy.engine import Engine

_PACKAGES = {
    "duckdb": "apache-airflow-providers-duckdb duckdb-engine",
    "gcpbigquery": "apache-airflow-providers-google sqlalchemy-bigquery",
    "mssql": "apache-airflow-providers-microsoft-mssql",
    # Its other dependency, mysqlclient, is compiled, and PyMySQL does as well: see _make_engine.
    "mysql": "pymysql && pip install --no-deps apache-airflow-providers-mysql",
    "oracle": "apache-airflow-providers-oracle",
    "postgres": "apache-airflow-providers-postgres",
    "redshift": "apache-airflow-providers-amazon sqlalchemy-redshift",
    "snowflake": "apache-airflow-providers-snowflake snowflake-sqlalchemy",
    "sqlite": "apache-airflow-providers-sqlite",
    "trino": "apache-airflow-providers-trino 'trino[sqlalchemy]'",
}
"""By connection type: its provider, and what an engine needs that the provider does not bring."""

_DRIVERS = {
    "MySQLdb": "pymysql",
    "mysql": "mysql-connector-python",
    "psycopg": "'psycopg[binary]'",
    "psycopg2": "psycopg2-binary",
}
"""By the module's name, where the package has another."""


_FILES = frozenset({"sqlite", "duckdb"})


def make_engine(sql_conn_id: str) -> Engine:
    """
    Return an engine for the database of an Airflow connection; nothing is asked of the database yet.

    SQLAlchemy's errors and logs show no values of it. Whoever asks for the engine disposes of it.

    :param sql_conn_id: the Airflow connection, of any type whose hook is a ``DbApiHook`` with a SQLAlchemy engine
    :raises SMSPartnerConfigurationError: there is no such connection, or something is missing for its engine: the text
        names the package to install
    """
    hook, connection = _resolve(sql_conn_id)
    conn_type = connection.conn_type or ""
    try:
        with _without_debug_lines(hook):
            engine = _make_engine(hook, connection)
    except NoSuchModuleError:
        told = f"SQLAlchemy has no dialect for it: {_advice(conn_type)}"
    except ImportError as error:
        told = _missing(error, conn_type)
    except AirflowOptionalProviderFeatureException:
        told = f"its provider lacks an optional package: {_advice(conn_type)}"
    except NotImplementedError:
        told = f"{type(hook).__name__} makes no SQLAlchemy engine: name the connection of another database"
    except (SQLAlchemyError, ValueError, TypeError) as error:
        told = f"its fields and extras make no database URL ({type(error).__name__}): check each of them"
    else:
        if engine.dialect.name not in _FILES or engine.url.database not in {None, "", ":memory:"}:
            # As an attribute, because not every hook takes SQLAlchemy's arguments.
            engine.hide_parameters = True
            engine.update_execution_options(sql_conn_id=sql_conn_id)  # for the errors
            return engine
        told = "its database is in memory, and would be gone with the task: give the path of a file as its host"
    # Outside of the except: a foreign text may hold the URL, with its password, and must not be chained.
    raise _error(sql_conn_id, told)


@contextmanager
def _without_debug_lines(hook: DbApiHook) -> Iterator[None]:
    """Hold a hook's DEBUG lines back: one of common.sql's shows the URL, with SQLAlchemy 1.4 its password too."""
    log = hook.log
    if not isinstance(log, logging.Logger):  # structlog's, of an Airflow whose SQLAlchemy hides the password
        yield
        return
    level = log.level
    log.setLevel(max(logging.INFO, log.getEffectiveLevel()))
    try:
        yield
    finally:
        log.setLevel(level)


def _resolve(sql_conn_id: str) -> tuple[DbApiHook, Connection]:
    conn_type = ""
    try:
        connection = BaseHook.get_connection(sql_conn_id)
        conn_type = connection.conn_type or ""
        hook = connection.get_hook()  # type: ignore[no-untyped-call]  # Airflow's own
        if isinstance(hook, DbApiHook):
            return hook, connection
        told = _no_sql_hook(conn_type)
    except AirflowNotFoundException:
        told = "there is no such connection: create it, or name another in sql_conn_id"
    except AttributeError:
        # Airflow's own, over a type that it offers without a hook, such as 'generic' and 'email'.
        told = _no_sql_hook(conn_type)
    except ImportError as error:
        told = _missing(error, conn_type)
    except AirflowException as error:
        if not str(error).startswith("Unknown hook type"):
            raise
        served = f"no installed provider serves its type, {conn_type!r}: {_advice(conn_type)}"
        told = served if conn_type else _no_sql_hook(conn_type)
    raise _error(sql_conn_id, told)


def _no_sql_hook(conn_type: str) -> str:
    return f"its type, {conn_type!r}, has no SQL hook: name the connection of a database in sql_conn_id"


def _make_engine(hook: DbApiHook, connection: Connection) -> Engine:
    arguments = _engine_arguments(hook, connection.conn_type or "")
    if connection.conn_type != "mysql":
        engine: Engine = hook.get_sqlalchemy_engine(**arguments)
        return engine
    # The hook spells a blank as "+", which SQLAlchemy takes for a plus.
    url = make_url(hook.get_uri())
    url = url.set(username=connection.login, password=connection.password, database=connection.schema)
    options = arguments.get("engine_kwargs", {})
    try:
        return create_engine(url, **options)
    except ImportError as error:
        # The hook's default is compiled, and so is often not there; PyMySQL needs no compiler.
        if _module(error) != "MySQLdb" or find_spec("pymysql") is None:
            raise
    return create_engine(url.set(drivername="mysql+pymysql"), **options)


def _engine_arguments(hook: DbApiHook, conn_type: str) -> dict[str, Any]:
    """Return what the hook's own connections obey and its engine forgets: TLS above all, which must not go missing."""
    options: dict[str, Any] = {}
    ignored = getattr(hook, "ignored_extra_options", None)
    if ignored is not None:  # PostgresHook's: all others are libpq's
        options = {name: value for name, value in hook.connection_extra.items() if name not in ignored}
    elif conn_type == "mysql" and "ssl" in hook.connection_extra:
        ssl = hook.connection_extra["ssl"]
        options = {"ssl": dict(json.loads(ssl) if isinstance(ssl, str) else ssl)}
    return {"engine_kwargs": {"connect_args": options}} if options else {}


def _missing(error: ImportError, conn_type: str) -> str:
    module = _module(error)
    advice = f"pip install {_DRIVERS[module]}" if module in _DRIVERS else _advice(conn_type)
    return f"{module} cannot be imported: {advice}"


def _module(error: ImportError) -> str:
    return (error.name or "its driver").partition(".")[0]


def _advice(conn_type: str) -> str:
    if conn_type in _PACKAGES:
        return f"pip install {_PACKAGES[conn_type]}"
    return "install that database's Airflow provider, and what SQLAlchemy needs for it"


def _error(sql_conn_id: str, told: str) -> SMSPartnerConfigurationError:
    return SMSPartnerConfigurationError(f"SQL connection {sql_conn_id!r}: {told}")
