"""The column types of the snapshot table: exact on every database, and what fits them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Context, Decimal, Inexact, InvalidOperation
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects import mssql, mysql, oracle
from sqlalchemy.types import TypeDecorator

from airflow_provider_smspartner.account import SMALLEST_STEP
from airflow_provider_smspartner.sql.databases import database_of

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect
    from sqlalchemy.types import TypeEngine

_ZONELESS = frozenset({"sqlite", "mysql", "mariadb"})
"""Where a column drops the zone without converting: there the UTC itself is what is stored."""


class _NativeNumeric(sa.Numeric[Decimal]):
    """Leave the Decimal to the driver: SQLAlchemy makes floats of some, such as DuckDB's, and decimals of floats."""

    def adapt(self, cls: Any, **keywords: Any) -> Any:
        return type(self)(self.precision, self.scale)

    def bind_processor(self, dialect: Dialect) -> None: ...

    def result_processor(self, dialect: Dialect, coltype: object) -> None: ...


class ExactDecimal(TypeDecorator[Decimal]):
    """NUMERIC(18, 6) that never passes through a float; text on SQLite, which has no exact number with a fraction."""

    impl = _NativeNumeric(18, 6)
    cache_ok = True
    exact = Context(prec=18, traps=[Inexact, InvalidOperation])

    @property
    def python_type(self) -> type[Decimal]:
        return Decimal

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return sa.String(20) if dialect.name == "sqlite" else _NativeNumeric(18, 6)

    def process_bind_param(self, value: Decimal | int | None, dialect: Dialect) -> Decimal | str | None:
        if value is None:
            return None
        amount = _fitted_amount(Decimal(value) if isinstance(value, int) else value).quantize(
            SMALLEST_STEP, context=self.exact
        )
        return format(amount, "f") if dialect.name == "sqlite" else amount

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        # What a column of another type gives is left as it is, and so unequal to what was written.
        if isinstance(value, int) or (dialect.name == "sqlite" and isinstance(value, str)):
            with suppress(InvalidOperation):
                return Decimal(value)
        return cast("Decimal | None", value)


class _ZonelessRead(sa.DateTime):
    """Read a DuckDB instant as the naive UTC: its driver hands out zones only where pytz is installed."""

    def column_expression(self, column: Any) -> Any:
        # No parameter, which DuckDB takes in no RETURNING.
        return sa.func.timezone(sa.literal_column("'UTC'"), column, type_=UtcTimestamp())


class UtcTimestamp(TypeDecorator[datetime]):
    """An instant with microseconds: aware on both sides, UTC in the table."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    @property
    def python_type(self) -> type[datetime]:
        return datetime

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        # Bare, as BigQuery's dialect breaks a type that it adapts to itself.
        if dialect.name in _INSTANTS:
            return cast("TypeEngine[Any]", _INSTANTS[dialect.name]())
        return dialect.type_descriptor(sa.DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        instant = _fitted_instant(value)
        return instant.replace(tzinfo=None) if dialect.name in _ZONELESS else instant

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        # What is no instant is left as it is, as above.
        if not isinstance(value, datetime):
            return cast("datetime | None", value)
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _of_clickhouse() -> Any:
    from clickhouse_connect.cc_sqlalchemy.datatypes.sqltypes import DateTime64

    return DateTime64(6, "UTC")


def _of_databricks() -> Any:
    from databricks.sqlalchemy import TIMESTAMP

    return TIMESTAMP()  # a DateTime is one without a zone


def _of_trino() -> Any:
    from trino.sqlalchemy.datatype import TIMESTAMP

    return TIMESTAMP(6, timezone=True)


_INSTANTS: dict[str, Callable[[], Any]] = {
    "mysql": partial(mysql.DATETIME, fsp=6),
    "mariadb": partial(mysql.DATETIME, fsp=6),
    "duckdb": partial(_ZonelessRead, timezone=True),
    "oracle": partial(oracle.TIMESTAMP, timezone=True),
    "mssql": partial(mssql.DATETIMEOFFSET, 6),
    # Of these some releases make a DateTime one without a zone.
    "bigquery": partial(sa.TIMESTAMP, timezone=True),
    "redshift": partial(sa.TIMESTAMP, timezone=True),
    "snowflake": partial(sa.TIMESTAMP, timezone=True),
    # Types of the dialects' own
    "clickhousedb": _of_clickhouse,
    "databricks": _of_databricks,
    "trino": _of_trino,
}
"""What makes the type of an instant with microseconds and a zone, by the dialect's name, where DateTime is not it."""


class Text(TypeDecorator[str]):
    """A text of so many letters of any script: databases count in letters, in bytes or in pairs of bytes."""

    impl = sa.String
    cache_ok = True

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.length = length

    @property
    def python_type(self) -> type[str]:
        return str

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        units = self.length * database_of(dialect.name).letter_units
        if dialect.name in {"mssql", "oracle"}:
            return sa.NVARCHAR(units)
        return sa.String(units)


def fitted(kind: TypeEngine[Any], value: Any) -> Any:
    """
    Return the value as a column of this type holds it, exactly.

    :raises ValueError: it cannot; the text says why, without the value
    """
    if isinstance(kind, UtcTimestamp):
        return _fitted_instant(value)
    if isinstance(kind, ExactDecimal):
        return _fitted_amount(value)
    if isinstance(kind, sa.Integer):
        bits = 63 if isinstance(kind, sa.BigInteger) else 31
        if not -(2**bits) <= value < 2**bits:
            raise ValueError(f"it is not within the {bits + 1} bits of a whole number")
    elif isinstance(kind, sa.String | Text) and kind.length is not None:
        if len(value) > kind.length:
            raise ValueError(f"it is {len(value)} characters long, and at most {kind.length} fit")
        if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in value):
            raise ValueError("it holds a character that databases refuse")
    return value


def _fitted_instant(value: datetime) -> datetime:
    if value.utcoffset() is None:
        raise ValueError("it has no time zone")
    try:
        instant = value.astimezone(UTC)
    except OverflowError:
        raise ValueError("in UTC it is out of range") from None
    # A plain datetime: drivers look types up exactly, and Airflow's dates are pendulum's subclass.
    return datetime.combine(instant.date(), instant.time(), UTC)


def _fitted_amount(value: Decimal) -> Decimal:
    with suppress(Inexact, InvalidOperation):
        if value.is_finite():
            value.quantize(SMALLEST_STEP, context=ExactDecimal.exact)
            return value
    raise ValueError("only 12 digits before the decimal point and 6 behind it fit")
