"""What a database says, in one sentence for a person: what is wrong, what to run, and whether it is transient."""

from __future__ import annotations

import logging
import re
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
import tenacity
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IdentifierError,
    IntegrityError,
    InterfaceError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
)

from airflow_provider_smspartner.exceptions import (
    SMSPartnerConfigurationError,
    SMSPartnerError,
    SMSPartnerUnavailableError,
)
from airflow_provider_smspartner.retries import beginning_with
from airflow_provider_smspartner.sql import clickhouse
from airflow_provider_smspartner.sql.databases import database_of
from airflow_provider_smspartner.sql.types import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy.engine import Engine
    from sqlalchemy.types import TypeEngine

log = logging.getLogger(__name__)

Result = TypeVar("Result")


class _Kind(Enum):
    """What is wrong, as far as it decides what a person must do."""

    TRANSIENT = auto()  # the same transaction may pass a moment later
    LOGIN = auto()
    DATABASE = auto()  # it is not there
    SCHEMA = auto()  # likewise
    RIGHT = auto()
    READ_ONLY = auto()
    FILE = auto()  # none of a database, or out of reach
    TLS = auto()
    KEY = auto()  # nothing tells one row from the other
    TYPES = auto()
    NAME = auto()  # too long, or odd
    NO_TABLE = auto()  # a view, for example
    CONSTRAINT = auto()  # of somebody else: ours has no other than the key
    STATEMENT = auto()  # the database does not understand us
    UNKNOWN = auto()  # taken for transient: another task retry may pass


_KIND_OF: dict[int | str, _Kind] = {
    # PostgreSQL by SQLSTATE, of which MySQL and MariaDB share those of the standard
    "25006": _Kind.READ_ONLY,
    "28000": _Kind.LOGIN,
    "28P01": _Kind.LOGIN,
    "3D000": _Kind.DATABASE,
    "3F000": _Kind.SCHEMA,
    "42501": _Kind.RIGHT,
    "42804": _Kind.TYPES,
    "42809": _Kind.NO_TABLE,
    "42P10": _Kind.KEY,
    "55000": _Kind.NO_TABLE,
    "55P03": _Kind.TRANSIENT,  # lock_timeout
    "P0001": _Kind.CONSTRAINT,  # a trigger's
    # MySQL and MariaDB by errno
    **dict.fromkeys((1040, 1203, 1226), _Kind.TRANSIENT),  # too many connections
    **dict.fromkeys((1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1927), _Kind.TRANSIENT),  # shut down, broken off
    **dict.fromkeys((2002, 2003, 2005, 2006, 2013, 2055, 4031), _Kind.TRANSIENT),  # no server, or lost
    1020: _Kind.TRANSIENT,  # MariaDB: the row changed since it was read
    **dict.fromkeys((1205, 1206), _Kind.TRANSIENT),  # lock wait timeout, lock table full
    1213: _Kind.TRANSIENT,  # deadlock, also for who waits when the first inserter rolls back
    **dict.fromkeys((1045, 1130, 1698, 1820, 1862, 3118, 4151), _Kind.LOGIN),
    **dict.fromkeys((1046, 1049), _Kind.DATABASE),
    **dict.fromkeys((1044, 1142, 1143, 1227), _Kind.RIGHT),
    **dict.fromkeys((1290, 1792, 1836), _Kind.READ_ONLY),
    2026: _Kind.TLS,
    **dict.fromkeys((1264, 1265, 1292, 1366, 1406), _Kind.TYPES),
    **dict.fromkeys((1059, 1103), _Kind.NAME),
    **dict.fromkeys((1347, 1348, 1471), _Kind.NO_TABLE),
    **dict.fromkeys((1644, 3819, 4025), _Kind.CONSTRAINT),
    # DuckDB by the class
    "TransactionException": _Kind.TRANSIENT,  # two transactions on one row
    "ConversionException": _Kind.TYPES,
    "TypeMismatchException": _Kind.TYPES,
    "PermissionException": _Kind.RIGHT,
}
_KIND_OF_FAMILY = {
    # SQLSTATE's classes
    "08": _Kind.TRANSIENT,  # connection lost
    "22": _Kind.TYPES,
    "23": _Kind.CONSTRAINT,
    "40": _Kind.TRANSIENT,  # deadlock, serialization failure
    "53": _Kind.TRANSIENT,  # too many connections, out of memory
    "57": _Kind.TRANSIENT,  # shut down, starting up, cancelled
    "58": _Kind.TRANSIENT,
    # SQLite's names, which go on behind these
    "SQLITE_BUSY": _Kind.TRANSIENT,
    "SQLITE_LOCKED": _Kind.TRANSIENT,
    "SQLITE_PROTOCOL": _Kind.TRANSIENT,
    "SQLITE_READONLY": _Kind.READ_ONLY,
    "SQLITE_CANTOPEN": _Kind.FILE,
    "SQLITE_NOTADB": _Kind.FILE,
    "SQLITE_MISMATCH": _Kind.TYPES,
    "SQLITE_CONSTRAINT": _Kind.CONSTRAINT,
}
KIND_OF_TEXT = {
    r"could not set lock on file": _Kind.TRANSIENT,
    r"password authentication failed|role .* does not exist|not permitted to log in|no pg_hba\.conf entry": _Kind.LOGIN,
    r"no password supplied|permission denied for database": _Kind.LOGIN,
    r"database .* does not exist": _Kind.DATABASE,
    r"SSL was required|certificate verify failed|root certificate file|no encryption": _Kind.TLS,
    r"unknown database|schema with name|because schema": _Kind.SCHEMA,
    r"read-only mode": _Kind.READ_ONLY,
    r"cannot open file|could not read from file|not a valid DuckDB database": _Kind.FILE,
    r"ON CONFLICT clause does not match|conflict target": _Kind.KEY,
    r"cannot store .* value in|no function matches|required module 'pytz'": _Kind.TYPES,
    # Databases of which no driver has codes that it shares with another
    r"Serializable isolation violation|deadlock victim|could not serialize access|concurrent update": _Kind.TRANSIENT,
    r"ORA-(00054|00060|08177|03113|03114|03135|12514|12537|12541|12547|12170)|DPY-(4011|6005)": _Kind.TRANSIENT,
    r"rateLimitExceeded|quotaExceeded|backendError|exceeded rate limits": _Kind.TRANSIENT,
    r"DELTA_CONCURRENT|Concurrent\w+Exception": _Kind.TRANSIENT,
    r"TOO_MANY_SIMULTANEOUS_QUERIES|TIMEOUT_EXCEEDED|SOCKET_TIMEOUT": _Kind.TRANSIENT,
    r"NO_NODES_AVAILABLE|SERVER_STARTING_UP": _Kind.TRANSIENT,
    r"ORA-(01017|01005|28000)|AUTHENTICATION_FAILED|Login failed for user": _Kind.LOGIN,
    r"ORA-01031|Not enough privileges|PERMISSION_DENIED|INSUFFICIENT_PERMISSIONS|permission was denied": _Kind.RIGHT,
    r"SCHEMA_NOT_FOUND|UNKNOWN_DATABASE|CATALOG_NOT_FOUND|Not found: Dataset": _Kind.SCHEMA,
    r"because it is a view|cannot upsert a view|is not an? table": _Kind.NO_TABLE,
}
"""Where there is no code: what libpq says of a login, SQLite of its SQLITE_ERROR, and DuckDB's few classes."""

_KIND_OF_CLASS: dict[type[DBAPIError], _Kind] = {
    IntegrityError: _Kind.CONSTRAINT,
    DataError: _Kind.TYPES,
    ProgrammingError: _Kind.STATEMENT,
    NotSupportedError: _Kind.STATEMENT,
}
"""By what SQLAlchemy makes of an error that nothing above knows."""

_RIGHT_TYPES = "Their types are right: ask who runs the database what changes the values"

NO_NAME = "the name is longer than the database keeps, or none that it takes: use another"

_MYSQL = frozenset({"mysql", "mariadb"})
_MYSQL_DRIVERS = frozenset({"MySQLdb", "mariadb", "mysql", "pymysql"})

_CODE = re.compile(r"[0-9A-Z]{5}|SQLITE_\w+")
"""A SQLSTATE, or SQLite's name. What else stands first in a driver's error is its text."""


def with_retries(
    work: Callable[[], Result], *, engine: Engine, table: sa.Table, lost_races: bool = False, attempts: int = 10
) -> Result:
    """
    Return what the work returns; retry it on a transient error, for a minute at most.

    :param work: one transaction, which can be made again from its beginning
    :param table: which the errors speak of
    :param lost_races: retry also after an IntegrityError, which without an upsert is how a lost race for a key ends
    :param attempts: at most; 1 for somebody who waits in front of a page
    :raises SMSPartnerConfigurationError: the database refuses for good; the text says what to run
    :raises SMSPartnerUnavailableError: the last attempt met a transient error, too
    """
    try:
        return work()
    except SQLAlchemyError as error:
        again = beginning_with(error, work)
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(
            lambda error: is_transient(error) or (lost_races and isinstance(error, IntegrityError))
        ),
        wait=tenacity.wait_random_exponential(multiplier=0.05, max=3),
        stop=tenacity.stop_after_attempt(attempts) | tenacity.stop_after_delay(60),
        before_sleep=lambda state: _log_attempt(table, state),
        reraise=True,
    )
    try:
        return retrying(again)
    except SQLAlchemyError as error:
        ours = translated(error, engine, table)
    # Outside of the except: the database's own text may hold a row or a password, and must not be chained.
    raise ours


def is_transient(error: BaseException) -> bool:
    """Return whether the same transaction may pass a moment later."""
    return isinstance(error, DBAPIError) and _kind_of(error) is _Kind.TRANSIENT


def translated(error: SQLAlchemyError, engine: Engine, table: sa.Table) -> SMSPartnerError:
    """
    Return our error for a database's: transient, or final with what to run. It holds no value and no word of theirs.

    :param table: which the statement was about
    """
    kind = _kind_of(error)
    name = _name_of(error)
    if kind in {_Kind.TRANSIENT, _Kind.UNKNOWN}:
        told = f"the database did not answer as it should ({name}): it may pass by itself, else ask who runs it"
        return SMSPartnerUnavailableError(_where(engine, table) + told)
    if kind is _Kind.KEY:
        return key_error(engine, table)
    if kind is _Kind.TYPES:
        names = [column.name for column in table.columns]
        other = other_types(engine, table, names)
        told = "has other types than needed in"
        return columns_error(engine, table, other or names, told, are_to_alter=bool(other))
    return refusal(engine, table, _sentence(kind, name, engine, table))


def refusal(engine: Engine, table: sa.Table, told: str) -> SMSPartnerConfigurationError:
    """Return an error that needs action, which names the connection and the table."""
    return SMSPartnerConfigurationError(_where(engine, table) + told)


def key_error(engine: Engine, table: sa.Table) -> SMSPartnerConfigurationError:
    """Return the refusal of a table that holds two rows of one key, or would."""
    preparer = engine.dialect.identifier_preparer
    key = ", ".join(column.name for column in table.primary_key)
    database = database_of(engine.dialect.name)
    unwritten = ", and nothing was written" if database.has_transactions else ""
    told = f"it does not keep one row per {key}{unwritten}: delete what is doubled"
    if database.enforces_keys:
        index = preparer.quote(f"{table.name}_key")
        told += f", then run CREATE UNIQUE INDEX {index} ON {preparer.format_table(table)} ({key})"
    return refusal(engine, table, told)


def columns_error(
    engine: Engine, table: sa.Table, names: Iterable[str], what: str, *, are_to_alter: bool = True
) -> SMSPartnerConfigurationError:
    """
    Return the refusal of a table over some of its columns.

    :param what: is wrong with them: ``lacks``
    :param are_to_alter: false where their types are right: to alter a column into what it is would help nobody
    """
    wanted = {name: _told_type(engine, table.c[name]) for name in names}
    unwritten = " Nothing was written." if database_of(engine.dialect.name).has_transactions else ""
    told = f"it {what} these columns: {', '.join(wanted)}.{unwritten}"
    columns = ", ".join(f"{name} {kind}" for name, kind in wanted.items())
    advice = f"Alter it so that it has: {columns}" if are_to_alter else _RIGHT_TYPES
    return refusal(engine, table, f"{told} {advice}")


def types_error(engine: Engine, table: sa.Table, names: Iterable[str], what: str) -> SMSPartnerConfigurationError:
    """Return what ``columns_error`` does, after a look at whether any of the columns has another type at all."""
    names = list(names)
    return columns_error(engine, table, names, what, are_to_alter=bool(other_types(engine, table, names)))


def other_types(engine: Engine, table: sa.Table, names: Iterable[str]) -> list[str]:
    """Return which of the columns have another type than they must; all, where the database does not tell."""
    names = list(names)
    try:
        there = sa.inspect(engine).get_columns(table.name, schema=table.schema)
    except Exception:  # noqa: BLE001  # dialects fail at this in ways of their own, and it is no more than a help
        return names
    kinds = {column["name"].lower(): column["type"] for column in there}
    return [name for name in names if name not in kinds or _is_other(kinds[name], table.c[name].type, engine)]


def _told_type(engine: Engine, column: sa.Column[Any]) -> str:
    if engine.dialect.name == clickhouse.NAME:
        return clickhouse.type_of(column)
    return str(column.type.compile(dialect=engine.dialect))


def _kind_of(error: SQLAlchemyError) -> _Kind:
    if isinstance(error, IdentifierError):  # of an index, which goes on behind the table's name
        return _Kind.NAME
    if not isinstance(error, DBAPIError) or error.orig is None:
        return _Kind.STATEMENT
    if error.connection_invalidated:
        return _Kind.TRANSIENT
    kind = _kind_by_code(error.orig) or _kind_by_text(error.orig) or _kind_by_class(error)
    # MySQL's schemas are databases; the connection's own is asked for before any statement.
    return _Kind.SCHEMA if kind is _Kind.DATABASE and error.statement else kind


def _kind_by_code(driver_error: BaseException) -> _Kind | None:
    # Other databases have numbers too, and other meanings for them: 2003 is a missing table in Snowflake.
    is_mysql = type(driver_error).__module__.partition(".")[0] in _MYSQL_DRIVERS
    names = [code for code in _codes(driver_error) if isinstance(code, str)]
    by_code = [_KIND_OF[code] for code in _codes(driver_error) if code in _KIND_OF and (is_mysql or code in names)]
    by_family = [kind for begin, kind in _KIND_OF_FAMILY.items() if any(name.startswith(begin) for name in names)]
    return next(iter(by_code + by_family), None)


def _kind_by_text(driver_error: BaseException) -> _Kind | None:
    text = str(driver_error)
    return next((kind for told, kind in KIND_OF_TEXT.items() if re.search(told, text, re.IGNORECASE)), None)


def _kind_by_class(error: DBAPIError) -> _Kind:
    for error_class, kind in _KIND_OF_CLASS.items():
        if isinstance(error, error_class):
            return kind
    # Drivers have a code for all that a server says, and none where no server answers.
    has_code = len(_codes(error.orig)) > 1
    return _Kind.UNKNOWN if has_code or not isinstance(error, OperationalError | InterfaceError) else _Kind.TRANSIENT


def _codes(driver_error: BaseException | None) -> list[int | str]:
    """Return what a driver calls its error, most telling first: they agree on no attribute for it."""
    if driver_error is None:
        return []
    codes = [*driver_error.args[:1]]
    codes += [getattr(driver_error, name, None) for name in ("errno", "sqlstate", "pgcode", "sqlite_errorname")]
    told = [code for code in codes if isinstance(code, int) or (isinstance(code, str) and _CODE.fullmatch(code))]
    return [*told, type(driver_error).__name__]


def _name_of(error: SQLAlchemyError) -> str:
    """Return the error's class and code, for who looks them up."""
    driver_error = getattr(error, "orig", None)
    if driver_error is None:
        return type(error).__name__
    *codes, name = _codes(driver_error)
    return f"{name} {codes[0]}" if codes else str(name)


def _where(engine: Engine, table: sa.Table) -> str:
    """Name the connection, where ``make_engine`` has told it, and the table."""
    sql_conn_id = engine.get_execution_options().get("sql_conn_id")
    of_connection = "" if sql_conn_id is None else f"SQL connection {sql_conn_id!r}, "
    return f"{of_connection}table {table.fullname!r}: "


def _sentence(kind: _Kind, name: str, engine: Engine, table: sa.Table) -> str:
    """Return what is wrong and what to do, for a permanent error."""
    told = {
        _Kind.LOGIN: "the database refuses the login: check the connection's login and password",
        _Kind.DATABASE: "there is no such database: create it, or name another in the connection's schema field",
        _Kind.SCHEMA: f"its schema is not there: {_schema_advice(engine, table)}",
        _Kind.RIGHT: f"the connection's login lacks a right: have its owner run {_grants(engine, table)}",
        _Kind.READ_ONLY: "the database is read-only there: name a connection that may write",
        _Kind.FILE: "the database's file cannot be opened: check the path in the connection's host, and its rights",
        _Kind.TLS: "the server and the connection agree on no TLS: check the connection's TLS options",
        _Kind.NAME: NO_NAME,
        _Kind.NO_TABLE: "what has that name is no table to write to: name another",
        _Kind.CONSTRAINT: f"a constraint or trigger of somebody else refuses the rows ({name}): have it removed",
        _Kind.STATEMENT: f"its database does not take this statement ({name}): name the connection of another database",
    }
    return told[kind]


def _schema_advice(engine: Engine, table: sa.Table) -> str:
    if engine.dialect.name == "sqlite":
        return "SQLite has none, so leave schema out"
    if table.schema is None:
        return "name one in schema, or set the search path of the connection's login"
    return f"run CREATE SCHEMA {engine.dialect.identifier_preparer.quote(table.schema)}, or name another"


def _grants(engine: Engine, table: sa.Table) -> str:
    """Return the statements that give the connection's login what writing takes, and creating the table."""
    preparer = engine.dialect.identifier_preparer
    login = preparer.quote(engine.url.username or "the_login")
    in_mysql = engine.dialect.name in _MYSQL
    schema = table.schema or (engine.url.database if in_mysql else getattr(engine.dialect, "default_schema_name", None))
    quoted = preparer.quote(schema or "the_schema")
    creating = f"CREATE ON {quoted}.*" if in_mysql else f"USAGE, CREATE ON SCHEMA {quoted}"
    tables = (table, *table.info.get("granted_with", ()))
    deleting = ", DELETE" if engine.dialect.name == "redshift" else ""
    writing = "".join(
        f"GRANT SELECT, INSERT, UPDATE{deleting} ON {preparer.format_table(each)} TO {login}; " for each in tables
    )
    return f"{writing}where this is to create the table, GRANT {creating} TO {login}"


def _is_other(kind: TypeEngine[Any], wanted: TypeEngine[Any], engine: Engine) -> bool:
    if isinstance(wanted, sa.String | Text):
        needed = wanted.load_dialect_impl(engine.dialect) if isinstance(wanted, Text) else wanted
        length = getattr(needed, "length", None) or 0
        return not _is_text(kind) or (getattr(kind, "length", None) or length) < length
    spelled = [_spelled(each, engine) for each in (kind, wanted)]
    return not spelled[0].startswith(spelled[1])


def _is_text(kind: TypeEngine[Any]) -> bool:
    # ClickHouse's dialect has a String that is none of SQLAlchemy's.
    return isinstance(kind, sa.String) or type(kind).__name__ == "String"


def _spelled(kind: TypeEngine[Any], engine: Engine) -> str:
    told = str(kind.compile(dialect=engine.dialect)).upper().replace("DECIMAL", "NUMERIC")
    return told.removeprefix("NULLABLE(")


def _log_attempt(table: sa.Table, state: tenacity.RetryCallState) -> None:
    """Name the class alone: the text of a DBAPIError shows the row."""
    error = state.outcome.exception() if state.outcome else None
    cause = type(getattr(error, "orig", error)).__name__
    log.warning("table %r: attempt %d met %s, a transient error: retrying", table.fullname, state.attempt_number, cause)
