"""ClickHouse's own words: a table whose last row of each key counts, and the view that analysts query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from airflow_provider_smspartner.sql.types import ExactDecimal, UtcTimestamp

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

NAME = "clickhousedb"
"""Of its dialect."""

_TYPES: tuple[tuple[type[Any], str], ...] = (
    (UtcTimestamp, "DateTime64(6, 'UTC')"),
    (ExactDecimal, "Decimal(18, 6)"),
    (sa.BigInteger, "Int64"),
    (sa.Integer, "Int32"),
    (object, "String"),
)


def type_of(column: sa.Column[Any]) -> str:
    """Return a column's type: what may be unknown must say so."""
    kind = next(kind for of, kind in _TYPES if isinstance(column.type, of))
    return f"Nullable({kind})" if column.nullable else kind


def creation(table: sa.Table, dialect: Dialect) -> list[str]:
    """
    Return the statements that create the table and its view.

    A row is never changed: of several with one key the one that was inserted last counts. ClickHouse drops the others
    some time later; until then FINAL, and so the view, leaves them out.
    """
    preparer = dialect.identifier_preparer
    name = preparer.format_table(table)
    view = preparer.format_table(table.to_metadata(sa.MetaData(), name=sa.sql.quoted_name(f"{table.name}_final", True)))
    columns = ", ".join(f"{preparer.format_column(column)} {type_of(column)}" for column in table.columns)
    key = ", ".join(preparer.format_column(column) for column in table.primary_key)
    return [
        f"CREATE TABLE IF NOT EXISTS {name} ({columns}) ENGINE = ReplacingMergeTree ORDER BY ({key})",
        f"CREATE VIEW IF NOT EXISTS {view} AS SELECT * FROM {name} FINAL",  # noqa: S608 - names alone
    ]


def final(query: sa.Select[Any]) -> sa.Select[Any]:
    """Return the query without the rows that later ones have replaced."""
    from clickhouse_connect.cc_sqlalchemy import final

    told: sa.Select[Any] = final(query)
    return told
