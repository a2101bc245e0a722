"""The upsert of the snapshot table in each database's own words, and what the table then holds."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import ClauseElement, Executable

from airflow_provider_smspartner.sql import clickhouse, mariadb
from airflow_provider_smspartner.sql.databases import database_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Insert
    from sqlalchemy.engine import Connection, Dialect, RowMapping
    from sqlalchemy.sql.compiler import SQLCompiler

    Row = dict[str, Any]
    Stored = RowMapping | Row
    Upsert = Callable[[Connection, sa.Table, list[Row], bool], Sequence[Stored]]

KEY = "snapshot_id"

_LONGEST_IN = 1_000
"""Oracle takes no more."""


def _upsert_on_conflict(connection: Connection, table: sa.Table, rows: list[Row], keep: bool) -> Sequence[RowMapping]:
    # What it leaves alone, it does not return.
    returns_rows = _returns_rows(connection) and not keep
    result = connection.execute(_insert_on_conflict(table, connection.dialect.name, returns_rows, keep), rows)
    return result.mappings().all() if returns_rows else read_back(connection, table, rows)


def _upsert_on_duplicate_key(connection: Connection, table: sa.Table, rows: list[Row], keep: bool) -> Sequence[Stored]:
    is_told = _returns_rows(connection)  # by MariaDB
    statement = _insert_on_duplicate_key(table, connection.dialect if is_told else None, keep)
    result = connection.execute(statement, rows)
    if is_told and mariadb.holds((text for (text,) in result.all()), rows, table):
        return rows
    return read_back(connection, table, rows)


def _returns_rows(connection: Connection) -> bool:
    # Before SQLAlchemy 2 there is no RETURNING for several rows, though the dialect of DuckDB says so.
    return sa.__version__ >= "2" and bool(connection.dialect.insert_executemany_returning)


# Kept, as building a statement takes as long as a quarter of the write.
@lru_cache(maxsize=8)
def _insert_on_conflict(table: sa.Table, dialect_name: str, returns_rows: bool, keep: bool) -> Insert:
    statement = (sqlite if dialect_name == "sqlite" else postgresql).insert(table)
    if keep:
        # With the key named, a table without it is refused.
        insert: Insert = statement.on_conflict_do_nothing(index_elements=[KEY])
        return insert
    values = {name: statement.excluded[name] for name in _values(table)}
    upsert: Insert = statement.on_conflict_do_update(index_elements=[KEY], set_=values)
    return upsert.returning(*table.columns) if returns_rows else upsert


@lru_cache(maxsize=8)
def _insert_on_duplicate_key(table: sa.Table, teller: Dialect | None, keep: bool) -> Insert:
    """
    Return the upsert.

    :param teller: of a database that tells each row, too, and how many rows have its key: RETURNING alone would not
        tell of the one beside it in a table without a primary key
    """
    statement = mysql.insert(table)
    # The key's own value changes nothing, and unlike IGNORE it hides no error.
    values = {name: statement.inserted[name] for name in ([KEY] if keep else _values(table))}
    upsert: Insert = statement.on_duplicate_key_update(values)
    if teller is None:
        return upsert
    same, quoted = table.alias("same"), teller.identifier_preparer.format_table(table)
    held = sa.select(sa.func.count()).where(same.c[KEY] == sa.literal_column(f"{quoted}.{KEY}"))
    return upsert.returning(mariadb.as_json(table, held.scalar_subquery()))


def _upsert_by_merge(connection: Connection, table: sa.Table, rows: list[Row], keep: bool) -> Sequence[RowMapping]:
    for some in _chunks(rows, database_of(connection.dialect.name).rows_at_once(len(table.columns))):
        connection.execute(merge(table, some, keep=keep))
    return read_back(connection, table, rows)


def merge(table: sa.Table, rows: list[Row], *, keep: bool) -> Executable:
    """Return the MERGE of some rows."""
    # Each value is cast, because a NULL alone would leave its column of the source without a type.
    selects = [sa.select(*[sa.cast(row[c.name], c.type).label(c.name) for c in table.columns]) for row in rows]
    source = sa.union_all(*selects) if len(selects) > 1 else selects[0]
    return _Merge(table, source.subquery("source"), keep=keep)


def _delete_and_insert(connection: Connection, table: sa.Table, rows: list[Row], keep: bool) -> Sequence[RowMapping]:
    """Replace rows in Redshift: its MERGE takes no rows of ours, and it enforces no key, so that others must wait."""
    connection.exec_driver_sql(f"LOCK TABLE {connection.dialect.identifier_preparer.format_table(table)}")
    if keep:
        there = _keys_there(connection, table, rows)
        rows_left = [row for row in rows if row[KEY] not in there]
    else:
        connection.execute(sa.delete(table).where(_is_of(rows, table)))
        rows_left = rows
    for some in _chunks(rows_left, database_of(connection.dialect.name).rows_at_once(len(table.columns))):
        connection.execute(sa.insert(table).values(some))
    return read_back(connection, table, rows)


def _insert_only(connection: Connection, table: sa.Table, rows: list[Row], keep: bool) -> Sequence[RowMapping]:
    """Insert into ClickHouse, where of several rows of a key the last one counts."""
    del keep  # whoever keeps what is there has looked before
    connection.execute(sa.insert(table), rows)
    return read_back(connection, table, rows)


def upsert_portably(connection: Connection, table: sa.Table, rows: list[Row], keep: bool) -> Sequence[RowMapping]:
    """
    Update the rows that are there, or leave them alone, and insert the others, in any SQL.

    Looking first keeps a re-run to its own row also where keys are not enforced. Where they are, who loses a race for a
    key gets an IntegrityError, and finds the row at the next attempt, in a new transaction.
    """
    there = _keys_there(connection, table, rows)
    known = [row | {"known_id": row[KEY]} for row in rows if row[KEY] in there]
    new = [row for row in rows if row[KEY] not in there]
    if known and not keep:
        connection.execute(sa.update(table).where(table.c[KEY] == sa.bindparam("known_id")), known)
    if new:
        connection.execute(sa.insert(table), new)
    return read_back(connection, table, rows)


def read_back(connection: Connection, table: sa.Table, rows: list[Row]) -> Sequence[RowMapping]:
    """Return what the table holds under the keys of the rows."""
    most = min(_LONGEST_IN, database_of(connection.dialect.name).most_parameters or _LONGEST_IN)
    found: list[RowMapping] = []
    for some in _chunks(rows, most):
        query = sa.select(table).where(_is_of(some, table))
        if connection.dialect.name == clickhouse.NAME:
            query = clickhouse.final(query)
        found += connection.execute(query).mappings().all()
    return found


def _keys_there(connection: Connection, table: sa.Table, rows: list[Row]) -> set[str]:
    return set(connection.execute(sa.select(table.c[KEY]).where(_is_of(rows, table))).scalars())


def _is_of(rows: list[Row], table: sa.Table) -> sa.ColumnElement[bool]:
    """Return the condition that a row of the table has the key of one of these."""
    return table.c[KEY].in_([row[KEY] for row in rows])


def _chunks(rows: list[Row], size: int | None) -> Iterator[list[Row]]:
    size = size or len(rows)
    for start in range(0, len(rows), size or 1):
        yield rows[start : start + size]


UPSERTS: dict[str, Upsert] = {
    "postgresql": _upsert_on_conflict,
    "duckdb": _upsert_on_conflict,
    "sqlite": _upsert_on_conflict,
    "mysql": _upsert_on_duplicate_key,
    "mariadb": _upsert_on_duplicate_key,
    "cockroachdb": _upsert_on_conflict,
    # Most of these enforce no key: a MERGE finds the row all the same.
    "bigquery": _upsert_by_merge,
    "databricks": _upsert_by_merge,
    "mssql": _upsert_by_merge,
    "oracle": _upsert_by_merge,
    "snowflake": _upsert_by_merge,
    "trino": _upsert_by_merge,
    "redshift": _delete_and_insert,
    clickhouse.NAME: _insert_only,
}
"""
By the dialect's name; any other database is written portably.

Each inserts the rows that are new, and replaces the others or with ``keep`` leaves them alone. It returns all of them
as the table holds them now, because some databases round and double silently.
"""


class _Merge(Executable, ClauseElement):
    """The standard's MERGE, which SQLAlchemy lacks: the rows of ``source`` into ``table``, by the key."""

    inherit_cache = False

    def __init__(self, table: sa.Table, source: sa.FromClause, *, keep: bool) -> None:
        self.table, self.source, self.keep = table, source, keep


@compiles(_Merge)
def _render_merge(merge: _Merge, compiler: SQLCompiler, **arguments: Any) -> str:
    preparer = compiler.preparer
    columns = {column.name: preparer.format_column(column) for column in merge.table.columns}
    table = preparer.format_table(merge.table)
    source = compiler.process(merge.source, asfrom=True, **arguments)
    # Between its look and its write SQL Server would let others in.
    hint, end = (" WITH (HOLDLOCK)", ";") if compiler.dialect.name == "mssql" else ("", "")
    updates = ", ".join(f"{columns[name]} = source.{columns[name]}" for name in _values(merge.table))
    return (
        f"MERGE INTO {table}{hint} target USING {source} ON (target.{columns[KEY]} = source.{columns[KEY]}) "  # noqa: S608 - names alone
        f"{'' if merge.keep else f'WHEN MATCHED THEN UPDATE SET {updates} '}"
        f"WHEN NOT MATCHED THEN INSERT ({', '.join(columns.values())}) "
        f"VALUES ({', '.join(f'source.{column}' for column in columns.values())}){end}"
    )


def _values(table: sa.Table) -> list[str]:
    return [column.name for column in table.columns if column.name != KEY]
