"""Tables that are there when they are needed: names as databases keep them, and creation that many may do at once."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.sql import quoted_name

from airflow_provider_smspartner.arguments import required_text
from airflow_provider_smspartner.sql import clickhouse
from airflow_provider_smspartner.sql.errors import NO_NAME, columns_error, is_transient, refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Connection, Dialect, Engine

log = logging.getLogger(__name__)

_CREATIONS = 5

_INDEXING = frozenset({"postgresql", "cockroachdb", "mysql", "mariadb", "sqlite", "mssql", "oracle"})
"""
The dialects whose databases get an index: those that keep rows.

Warehouses keep columns, and mostly know no index. DuckDB knows one, but its upsert may not change a column of it.
"""

_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_$.]*")


def quoted_for_sql(what: str, name: object) -> quoted_name:
    """
    Return a name that is quoted in SQL, whatever it is.

    :param what: the argument it came by, for the error
    :raises SMSPartnerArgumentError: it is no text, or names nothing
    """
    # Always, because SQLAlchemy's own lists of reserved words have gaps ("returning", "lateral", "value").
    return quoted_name(required_text(what, name), quote=True)


def folded_table(table: sa.Table, dialect: Dialect) -> sa.Table:
    """
    Return the table under the name by which this dialect's database keeps it.

    Where names fold to upper case (Snowflake, Oracle), a plain lower-case one is written in upper case, so that SQL
    without quotes finds the table.
    """
    if not dialect.requires_name_normalize:
        return table
    names = {"name": table.name} if table.schema is None else {"name": table.name, "schema": table.schema}
    as_kept: dict[str, Any] = {what: quoted_name(_folded(name), quote=True) for what, name in names.items()}
    return table.to_metadata(sa.MetaData(), **as_kept)


def _folded(name: str) -> str:
    # By way of str, because a quoted name's own upper() keeps its case.
    return str.upper(name) if _PLAIN_NAME.fullmatch(name) else name


def prepare_table(engine: Engine, table: sa.Table, *, create_table: bool, indexed: Sequence[str] = ()) -> None:
    """
    Create the table where it is missing, and see that it has the columns.

    :param create_table: when False, no DDL is issued
    :param indexed: the columns of an index that a new table gets, where the database has such. It makes queries fast,
        and nothing depends on it: a table that is there already is left alone, and a refusal is logged
    :raises SMSPartnerConfigurationError: the table is missing and must not be created, or lacks columns
    :raises sqlalchemy.exc.SQLAlchemyError: what the database says; call this by ``errors.with_retries``
    """
    if not is_there(engine, table):
        if not create_table:
            raise refusal(engine, table, "it is not there, and create_table is False: create it, or let this do so")
        _create(engine, table)
        if indexed:
            _create_index(engine, table, indexed)
    with engine.connect() as connection:
        # The database itself rather than reflection, which fails on DuckDB with SQLAlchemy 2.1.
        names = connection.execute(sa.select(sa.text("*")).select_from(table).where(sa.false())).keys()
    there = {name.lower() for name in names}
    missing = [column.name for column in table.columns if column.name not in there]
    if missing:
        raise columns_error(engine, table, missing, "lacks")


def is_there(engine: Engine, table: sa.Table) -> bool:
    """Return whether the database has a table of this name."""
    return bool(sa.inspect(engine).has_table(table.name, schema=table.schema))


def _create(engine: Engine, table: sa.Table) -> None:
    if len(table.name.encode()) > engine.dialect.max_identifier_length:
        raise refusal(engine, table, NO_NAME)
    for attempts_left in reversed(range(_CREATIONS)):
        try:
            _run_creation(engine, table)
        except DBAPIError:
            # Two who create it at once collide under many names; what counts is whether it is there now.
            if not attempts_left:
                raise
        if is_there(engine, table):
            return


def _run_creation(engine: Engine, table: sa.Table) -> None:
    if engine.dialect.name != clickhouse.NAME:
        table.create(engine)
        return
    with engine.begin() as connection:
        for statement in clickhouse.creation(table, engine.dialect):
            connection.exec_driver_sql(statement)


def _create_index(engine: Engine, table: sa.Table, columns: Sequence[str]) -> None:
    if engine.dialect.name not in _INDEXING:
        return
    # Apart from the table, which must be there also where the index is refused. The name is made by a convention, as
    # SQLAlchemy shortens only such a one to what the database keeps.
    copy = table.to_metadata(sa.MetaData(naming_convention={"ix": "%(table_name)s_history"}))
    index = sa.Index(None, *[copy.c[name] for name in columns])
    for attempts_left in reversed(range(_CREATIONS)):
        try:
            index.create(engine, checkfirst=True)
            return
        except SQLAlchemyError as error:
            if has_index(engine, table, columns):  # made by another, who created the table at the same time
                return
            if not attempts_left or not is_transient(error):
                told = type(getattr(error, "orig", error)).__name__
                log.info("table %r: written without an index, which the database refuses: %s", table.fullname, told)
                return


def has_index(bind: Engine | Connection, table: sa.Table, columns: Sequence[str]) -> bool:
    """Return whether the table has an index that begins with the columns; False where the database does not tell."""
    if bind.dialect.name not in _INDEXING:
        return False
    try:
        indexes = sa.inspect(bind).get_indexes(table.name, schema=table.schema)
    except SQLAlchemyError:
        return False
    return any(index["column_names"][: len(columns)] == list(columns) for index in indexes)
