"""What MariaDB holds of a row, as one JSON text: a driver in Python reads that quicker than fifteen columns."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_read = json.JSONDecoder(parse_float=str).decode


_ONE: sa.ColumnElement[Any] = sa.literal_column("1.0")
_ZERO: sa.ColumnElement[Any] = sa.literal_column("0")
_KINDS: dict[type, tuple[Callable[[Any], sa.ColumnElement[Any]], Callable[[Any], str]]] = {
    str: (lambda column: column, str),
    int: (lambda column: column * _ONE, "{}.0".format),
    Decimal: (lambda column: column * _ONE, "{:.7f}".format),
    datetime: (lambda column: column + _ZERO, "{0.year}{0:%m%d%H%M%S.%f}".format),
}
"""
By what a column holds: the expression in which it also shows what it is made of, and how a value reads there.

Only a number that is exact has a further digit after a multiplication by 1.0, and only an instant is a number with six
digits behind the point after an addition of 0.
"""


def as_json(table: sa.Table, held: sa.ColumnElement[int]) -> sa.ColumnElement[str]:
    """Return the expression that ``holds`` reads: a row's columns, then how many rows its key has."""
    columns = [_KINDS[column.type.python_type][0](sa.column(column.name)) for column in table.columns]
    return sa.func.json_array(*columns, held, type_=sa.Text())


def holds(told: Iterable[object], rows: Iterable[dict[str, Any]], table: sa.Table) -> bool:
    """
    Return whether the table holds these rows exactly as they are, each under a key of its own.

    :param told: what ``as_json`` gave for each. No text but bytes come from a column of bytes, and are no match
    """
    columns = _columns(table)
    expected = [
        [*[None if (value := row[name]) is None else reads(value) for name, reads in columns], 1] for row in rows
    ]
    return [_read(text) if isinstance(text, str) else None for text in told] == expected


@lru_cache(maxsize=8)
def _columns(table: sa.Table) -> list[tuple[str, Callable[[Any], str]]]:
    return [(column.name, _KINDS[column.type.python_type][1]) for column in table.columns]
