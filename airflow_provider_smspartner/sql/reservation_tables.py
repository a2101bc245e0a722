"""The three tables of a ledger of reservations, and a row of them as a ``Reservation``."""

from __future__ import annotations

from dataclasses import fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from airflow_provider_smspartner.account import CreditType
from airflow_provider_smspartner.reservation import Reservation
from airflow_provider_smspartner.sql.tables import quoted_for_sql
from airflow_provider_smspartner.sql.types import ExactDecimal, UtcTimestamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
            *_reservation_columns(),
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
        # Whoever lacks a right to one lacks it to all: a database's refusal does not say which.
        self.reservations.info["granted_with"] = (self.accounts, self.deductions)

    def __iter__(self) -> Iterator[sa.Table]:
        return iter((self.accounts, self.reservations, self.deductions))

    @cached_property
    def columns(self) -> list[sa.Column[Any]]:
        """What ``row_to_reservation`` reads, in its order."""
        return [self.reservations.c[name] for name in _FIELDS]

    # These are kept, as building them takes as long as running them.

    @cached_property
    def lock(self) -> Any:
        """The update that waits for the lock of ``this_account``, and takes it until the commit."""
        return sa.update(self.accounts).where(self._this_account).values(version=self.accounts.c.version + 1)

    @cached_property
    def locked(self) -> Any:
        """The query of what the account's row says then."""
        return sa.select(self.accounts.c.version, self.accounts.c.incarnation).where(self._this_account)

    @cached_property
    def one_account(self) -> Any:
        """The update of the row of ``this_account``."""
        return sa.update(self.accounts).where(self._this_account)

    @cached_property
    def alike(self) -> Any:
        """The query of the other accounts that showed the same balance lately."""
        accounts = self.accounts.c
        same = (accounts.balance == sa.bindparam("this_balance"), accounts.currency == sa.bindparam("this_currency"))
        return sa.select(accounts.account).where(
            ~self._this_account, accounts.read_us >= sa.bindparam("since_us"), *same
        )

    @property
    def _this_account(self) -> Any:
        return self.accounts.c.account_id == sa.bindparam("this_account")

    @cached_property
    def expire(self) -> Any:
        """The update that ends what is past at ``at_us``."""
        rows = self.reservations.c
        past = (
            rows.account_id == sa.bindparam("this_account"),
            rows.ended_version.is_(None),
            rows.expires_us <= sa.bindparam("at_us"),
        )
        settled_us = sa.bindparam("at_us", type_=sa.BigInteger()) + rows.settles_after_us
        ended = {"settled_us": settled_us, "ended_how": "expired"}
        ended |= {name: sa.bindparam(name) for name in ("ended_at", "ended_version")}
        return sa.update(self.reservations).where(*past).values(ended)

    @cached_property
    def epochs(self) -> Any:
        """The query of all rows of ``this_id``, the latest last."""
        rows = self.reservations.c
        of_id = rows.reservation_id == sa.bindparam("this_id")
        return sa.select(*self.columns).where(of_id).order_by(rows.requested_version, rows.epoch)

    @cached_property
    def one_row(self) -> Any:
        """The update of the row of ``this_id`` and ``this_epoch``."""
        rows = self.reservations.c
        this = (rows.reservation_id == sa.bindparam("this_id"), rows.epoch == sa.bindparam("this_epoch"))
        return sa.update(self.reservations).where(*this)

    @cached_property
    def counted(self) -> Any:
        """The query of what is open, or what a reading with that ``version`` and ``at_us`` may not show as ended."""
        return self._counted(self.reservations.c.ended_version.is_(None))

    @cached_property
    def counted_for_one(self) -> Any:
        """The same without who waits and takes nothing from one that asks: a thousand may wait."""
        rows = self.reservations.c
        takes = rows.granted_version.is_not(None) | rows.in_turn | rows.subtract_pending
        takes |= rows.called_until_us.is_not(None)
        return self._counted(rows.ended_version.is_(None) & takes)

    def _counted(self, is_open: Any) -> Any:
        rows = self.reservations.c
        may_not_show = (rows.ended_version > sa.bindparam("version"), rows.settled_us > sa.bindparam("at_us"))
        return _any_of(self.columns, rows.account_id, (is_open, *may_not_show))

    @cached_property
    def unseen(self) -> Any:
        """The query of the deductions that such a reading may not show."""
        kept = self.deductions.c
        wanted = [kept.deduction_id, kept.reservation_id, kept.epoch, kept.amount]
        conditions = (kept.version > sa.bindparam("version"), kept.settled_us > sa.bindparam("at_us"))
        return _any_of(wanted, kept.account_id, conditions)


def _any_of(columns: list[sa.Column[Any]], account_id: sa.Column[Any], conditions: Iterable[Any]) -> Any:
    """Return a query of the account's rows that meet one condition at least, each looked up by an index of its own."""
    of_account = account_id == sa.bindparam("account_id")
    return sa.union(*(sa.select(*columns).where(of_account, condition) for condition in conditions))


def _reservation_columns() -> Iterator[sa.Column[Any]]:
    for name, kind in _RESERVATION_COLUMNS.items():
        yield sa.Column(name, kind, primary_key=name in _KEY, nullable=name not in _REQUIRED, autoincrement=False)


_FIELDS = [each.name for each in fields(Reservation) if each.name in _RESERVATION_COLUMNS]
_COUNTED = ("asked", "amount", "deducted")


def reservation_to_row(reservation: Reservation) -> dict[str, Any]:
    """Return the columns of a reservation, without the account's id."""
    return {name: getattr(reservation, name) for name in _FIELDS}


def row_to_reservation(row: Row[Any]) -> Reservation:
    """Return a reservation as it was written, of ``ReservationTables.columns``: counts are whole, money is exact."""
    told = dict(zip(_FIELDS, row, strict=True))
    told["credit_type"] = credit_type = CreditType(row.credit_type)
    if credit_type is not CreditType.BALANCE:
        for name in _COUNTED:
            told[name] = int(told[name])
    return Reservation(**told)
