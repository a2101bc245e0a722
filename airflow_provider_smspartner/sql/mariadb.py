"""What MariaDB holds of a row, as one JSON text: a driver in Python reads that quicker than fifteen columns."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Iterable

_read = json.JSONDecoder(parse_float=str).decode


def as_json(table: sa.Table, held: sa.ColumnElement[int]) -> sa.ColumnElement[str]:
    """
    Return the expression that ``holds`` reads: a row's columns, then how many rows its key has.

    What a column is made of shows, too: only a number that is exact has a further digit after a multiplication by 1.0,
    and only an instant is a number with six digits behind the point after an addition of 0.
    """
    return sa.func.json_array(*map(_told, table.columns), held, type_=sa.Text())


def holds(told: Iterable[object], rows: Iterable[dict[str, Any]], table: sa.Table) -> bool:
    """
    Return whether the table holds these rows exactly as they are, each under a key of its own.

    :param told: what ``as_json`` gave for each. No text but bytes come from a column of bytes, and are no match
    """
    names = table.columns.keys()
    expected = [[*[_expected(row[name]) for name in names], 1] for row in rows]
    return [_read(text) if isinstance(text, str) else None for text in told] == expected


def _told(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    if column.type.python_type is str:
        return column
    plain = sa.type_coerce(column, sa.Numeric())
    return plain + sa.literal_column("0") if column.type.python_type is datetime else plain * sa.literal_column("1.0")


def _expected(value: object) -> object:
    if isinstance(value, datetime):
        return f"{value.year}{value:%m%d%H%M%S.%f}"
    if isinstance(value, int):
        return f"{value}.0"
    return f"{value:.7f}" if isinstance(value, Decimal) else value
