"""From an Airflow connection id to a SQLAlchemy engine, or to the word on what is missing for one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowOptionalProviderFeatureException,
    BaseHook,
)
from airflow.providers.common.sql.hooks.sql import DbApiHook
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

from airflow_provider_smspartner.exceptions import SMSPartnerConfigurationError
from airflow_provider_smspartner.look_ups import look_up_error
from airflow_provider_smspartner.sql.connections import engine_of, module_of, sql_hook_of

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection
    from sqlalchemy.engine import Engine

_NAMED_ALIKE = (
    *("clickhouse", "databricks", "duckdb", "mssql", "oracle", "postgres"),
    *("redshift", "snowflake", "sqlite", "trino"),
)
_EXTRAS = {name: name for name in _NAMED_ALIKE} | {"gcpbigquery": "bigquery"}
"""By connection type: the extra of this package that brings its provider, and what an engine needs besides."""

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
    :raises SMSPartnerUnavailableError: a secrets backend, or Airflow's API, could not look it up
    """
    hook, connection = _resolve(sql_conn_id)
    conn_type = connection.conn_type or ""
    try:
        with _without_debug_lines(hook):
            engine = engine_of(hook, connection)
    except NoSuchModuleError:
        told = f"SQLAlchemy has no dialect for it: {_advice(conn_type)}"
    except ImportError as error:
        told = _missing(error, conn_type)
    except AirflowOptionalProviderFeatureException:
        told = f"its provider lacks an optional package: {_advice(conn_type)}"
    except NotImplementedError:
        told = f"{type(hook).__name__} makes no SQLAlchemy engine: name the connection of another database"
    except (SQLAlchemyError, ValueError, TypeError, RuntimeError, AirflowException) as error:
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
    connection = _look_up(sql_conn_id)
    conn_type = connection.conn_type or ""
    try:
        hook = sql_hook_of(connection)
        if isinstance(hook, DbApiHook):
            return hook, connection
        told = _no_sql_hook(conn_type)
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


def _look_up(sql_conn_id: str) -> Connection:
    try:
        return BaseHook.get_connection(sql_conn_id)
    except Exception as exc:  # noqa: BLE001  # secrets backends raise what they like
        error = look_up_error(exc, sql_conn_id, "create it, or name another in sql_conn_id")
    raise type(error)(f"SQL connection {sql_conn_id!r}: {error}")


def _no_sql_hook(conn_type: str) -> str:
    if conn_type == "google_cloud_platform":
        return "its type, 'google_cloud_platform', has no SQL hook: make a connection of type 'gcpbigquery'"
    return f"its type, {conn_type!r}, has no SQL hook: name the connection of a database in sql_conn_id"


def _missing(error: ImportError, conn_type: str) -> str:
    module = module_of(error)
    advice = f"pip install {_DRIVERS[module]}" if module in _DRIVERS else _advice(conn_type)
    return f"{module} cannot be imported: {advice}"


def _advice(conn_type: str) -> str:
    if conn_type == "mysql":
        # The provider's other dependency, mysqlclient, is compiled, and PyMySQL does as well.
        return "pip install pymysql && pip install --no-deps apache-airflow-providers-mysql"
    if conn_type in _EXTRAS:
        return f"pip install 'airflow-provider-smspartner[{_EXTRAS[conn_type]}]'"
    return "install that database's Airflow provider, and what SQLAlchemy needs for it"


def _error(sql_conn_id: str, told: str) -> SMSPartnerConfigurationError:
    return SMSPartnerConfigurationError(f"SQL connection {sql_conn_id!r}: {told}")
