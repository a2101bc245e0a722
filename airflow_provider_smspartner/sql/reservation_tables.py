"""The three tables of a ledger of reservations, and a row of them as a ``Reservation``."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from airflow_provider_smspartner.account import CreditType
from airflow_provider_smspartner.reservation import Reservation
from airflow_provider_smspartner.sql.tables import quoted_for_sql
from airflow_provider_smspartner.sql.types import ExactDecimal, UtcTimestamp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Row
    from sqlalchemy.types import TypeEngine

_RESERVATION_COLUMNS: dict[str, TypeEngine[Any]] = {
    "reservation_id": sa.CHAR(36),
    "epoch": sa.Integer(),
    "account_id": sa.CHAR(36),
    "account": sa.String(250),
    "smspartner_conn_id": sa.String(250),
    "holder": sa.String(250),
    "dag_id": sa.String(250),
    "task_id": sa.String(250),
    "run_id": sa.String(250),
    "map_index": sa.Integer(),
    "attempt": sa.String(50),
    "credit_type": sa.String(20),
    "asked": ExactDecimal(),
    "amount": ExactDecimal(),
    "subtract_pending": sa.Boolean(),
    "priority": sa.Integer(),
    "in_turn": sa.Boolean(),
    "hold_for_us": sa.BigInteger(),
    "settles_after_us": sa.BigInteger(),
    "requested_at": UtcTimestamp(),
    "requested_version": sa.BigInteger(),
    "seen_until_us": sa.BigInteger(),
    "called_until_us": sa.BigInteger(),
    "granted_at": UtcTimestamp(),
    "granted_version": sa.BigInteger(),
    "expires_us": sa.BigInteger(),
    "price": ExactDecimal(),
    "currency": sa.String(3),
    "balance": ExactDecimal(),
    "deducted": ExactDecimal(),
    "ended_at": UtcTimestamp(),
    "ended_version": sa.BigInteger(),
    "settled_us": sa.BigInteger(),
    "ended_how": sa.String(20),
}
"""What a row is. A column that a later version adds is nullable, so that an old worker beside a new one goes on."""

_KEY = {"reservation_id", "epoch"}
_REQUIRED = {
    "reservation_id",
    "epoch",
    "account_id",
    "account",
    "smspartner_conn_id",
    "credit_type",
    "asked",
    "amount",
    "requested_at",
    "requested_version",
    "deducted",
}


_CHARSETS: dict[str, Any] = {"mysql_charset": "utf8mb4", "mariadb_charset": "utf8mb4"}


class ReservationTables:
    """
    The three tables of a ledger; nothing is asked of a database.

    :raises SMSPartnerConfigurationError: a name is empty
    """

    def __init__(self, name: str, schema: str | None) -> None:
        metadata = sa.MetaData(schema=None if schema is None else quoted_for_sql("schema", schema))
        self.accounts = sa.Table(
            quoted_for_sql("reservations_table", f"{name}_accounts"),
            metadata,
            sa.Column("account_id", sa.CHAR(36), primary_key=True),
            sa.Column("account", sa.String(250), nullable=False),
            sa.Column("incarnation", sa.CHAR(36), nullable=False),
            sa.Column("version", sa.BigInteger(), nullable=False),
            sa.Column("balance", ExactDecimal()),
            sa.Column("currency", sa.String(3)),
            sa.Column("read_us", sa.BigInteger()),
            **_CHARSETS,
        )
        self.reservations = sa.Table(
            quoted_for_sql("reservations_table", name),
            metadata,
            *(
                sa.Column(
                    column, kind, primary_key=column in _KEY, nullable=column not in _REQUIRED, autoincrement=False
                )
                for column, kind in _RESERVATION_COLUMNS.items()
            ),
            sa.Index(f"{name}_ended", "account_id", "ended_version"),
            sa.Index(f"{name}_settled", "account_id", "settled_us"),
            sa.Index(f"{name}_run", "run_id", "dag_id"),
            **_CHARSETS,
        )
        self.deductions = sa.Table(
            quoted_for_sql("reservations_table", f"{name}_deductions"),
            metadata,
            sa.Column("deduction_id", sa.CHAR(36), primary_key=True),
            sa.Column("reservation_id", sa.CHAR(36), nullable=False),
            sa.Column("epoch", sa.Integer(), nullable=False),
            sa.Column("account_id", sa.CHAR(36), nullable=False),
            sa.Column("deduction_key", sa.String(1000), nullable=False),
            sa.Column("amount", ExactDecimal(), nullable=False),
            sa.Column("deducted_at", UtcTimestamp(), nullable=False),
            sa.Column("version", sa.BigInteger(), nullable=False),
            sa.Column("settled_us", sa.BigInteger(), nullable=False),
            sa.Index(f"{name}_deductions_version", "account_id", "version"),
            sa.Index(f"{name}_deductions_settled", "account_id", "settled_us"),
            sa.Index(f"{name}_deductions_of", "reservation_id", "epoch"),
            **_CHARSETS,
        )

    def __iter__(self) -> Iterator[sa.Table]:
        return iter((self.accounts, self.reservations, self.deductions))


def _columns(kinds: dict[str, TypeEngine[Any]], *, primary_key: set[str], required: set[str]) -> list[sa.Column[Any]]:
    return [
        sa.Column(name, kind, primary_key=name in primary_key, nullable=name not in required, autoincrement=False)
        for name, kind in kinds.items()
    ]


_FIELDS = [each.name for each in fields(Reservation) if each.name in _RESERVATION_COLUMNS]


def reservation_to_row(reservation: Reservation) -> dict[str, Any]:
    """Return the columns of a reservation, without the account's id."""
    return {name: getattr(reservation, name) for name in _FIELDS}


def row_to_reservation(row: Row[Any]) -> Reservation:
    """Return a reservation as it was written: counts are whole, amounts of money exact."""
    told = {name: getattr(row, name) for name in _FIELDS} | {"credit_type": CreditType(row.credit_type)}
    if told["credit_type"] is not CreditType.BALANCE:
        told |= {name: int(told[name]) for name in ("asked", "amount", "deducted")}
    return Reservation(**told)
