"""What MariaDB holds of a row, as one JSON text: a driver in Python reads that quicker than fifteen columns."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Iterable

_read = json.JSONDecoder(parse_float=str).decode


class _Names(NamedTuple):
    """The columns of a table by what they hold."""

    texts: list[str]
    counts: list[str]
    amounts: list[str]
    instants: list[str]


@lru_cache(maxsize=8)
def _names(table: sa.Table) -> _Names:
    return _Names(
        *([c.name for c in table.columns if c.type.python_type is kind] for kind in (str, int, Decimal, datetime))
    )


def as_json(table: sa.Table, held: sa.ColumnElement[int]) -> sa.ColumnElement[str]:
    """
    Return the expression that ``holds`` reads: a row's columns, then how many rows its key has.

    What a column is made of shows, too: only a number that is exact has a further digit after a multiplication by 1.0,
    and only an instant is a number with six digits behind the point after an addition of 0.
    """
    names = _names(table)
    columns: list[sa.ColumnElement[Any]] = [
        *[sa.column(name) for name in names.texts],
        *[sa.column(name) * sa.literal_column("1.0") for name in [*names.counts, *names.amounts]],
        *[sa.column(name) + sa.literal_column("0") for name in names.instants],
    ]
    return sa.func.json_array(*columns, held, type_=sa.Text())


def holds(told: Iterable[object], rows: Iterable[dict[str, Any]], table: sa.Table) -> bool:
    """
    Return whether the table holds these rows exactly as they are, each under a key of its own.

    :param told: what ``as_json`` gave for each. No text but bytes come from a column of bytes, and are no match
    """
    names = _names(table)
    expected = [
        [
            *[row[name] for name in names.texts],
            *[None if (value := row[name]) is None else f"{value}.0" for name in names.counts],
            *[None if (value := row[name]) is None else f"{value:.7f}" for name in names.amounts],
            *[
                None if (value := row[name]) is None else f"{value.year}{value:%m%d%H%M%S.%f}"
                for name in names.instants
            ],
            1,
        ]
        for row in rows
    ]
    return [_read(text) if isinstance(text, str) else None for text in told] == expected
