"""Transactions that hold an account's lock: what each of them sees and writes of a ledger of reservations."""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar, cast
from uuid import UUID, uuid4, uuid5

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from airflow_provider_smspartner import metrics
from airflow_provider_smspartner.exceptions import SMSPartnerConfigurationError
from airflow_provider_smspartner.reservation import Book, Note, Reservation, instant, microseconds
from airflow_provider_smspartner.sql.errors import is_transient, with_retries
from airflow_provider_smspartner.sql.reservation_tables import (
    ReservationTables,
    reservation_to_row,
    row_to_reservation,
)
from airflow_provider_smspartner.sql.tables import prepare_table

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from sqlalchemy.engine import Connection, Engine

    from airflow_provider_smspartner.account import Credits

T = TypeVar("T")

_NAMESPACE = UUID("6f0b7d35-7c5b-4a0a-8f0b-2d1c3c5f9a14")
"""Of the keys of accounts and deductions. Another one would make a retry miss its own row, so it never changes."""

_CLOCKS = {
    # Not now(), which is the transaction's beginning: it revives a hold whose credit went while this one waited.
    "postgresql": "SELECT clock_timestamp()",
    "mysql": "SELECT UTC_TIMESTAMP(6)",
    "mariadb": "SELECT UTC_TIMESTAMP(6)",
    "sqlite": "SELECT strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')",
}
"""The clock of each database that can lock a row until the commit: no other can hold a ledger."""

# Never the engine's own: a connection's extras may say autocommit, with which every database overspends.
_ISOLATION = {"sqlite": "SERIALIZABLE"}

_MOST_IDS = 10_000
"""Of one statement: SQLite takes some 32,000 parameters, PostgreSQL 65,000."""


class Visits:
    """
    Visits to the accounts of a ledger, one at a time for each account.

    :param engine: of PostgreSQL, MySQL, MariaDB or SQLite
    :param table: the name of the table of reservations; two more begin with it
    :param schema: where they lie; None is where the connection points
    :param create_table: create the tables where they are missing
    :raises SMSPartnerConfigurationError: the database cannot lock an account, or a name is empty
    """

    def __init__(self, engine: Engine, table: str, schema: str | None = None, *, create_table: bool = True) -> None:
        dialect = engine.dialect.name
        if dialect not in _CLOCKS:
            raise SMSPartnerConfigurationError(
                f"{dialect} cannot lock an account while its credit is reserved: "
                "keep the reservations on PostgreSQL, MySQL, MariaDB or SQLite"
            )
        self.engine = engine
        self._isolation = _ISOLATION.get(dialect, "READ COMMITTED")
        self._clock = sa.text(_CLOCKS[dialect])
        self._create_table = create_table
        self._tables = ReservationTables(table, schema)

    @property
    def table(self) -> sa.Table:
        """The table of reservations."""
        return self._tables.reservations

    def close(self) -> None:
        """Close its connections."""
        self.engine.dispose()

    def visit(self, account: str, work: Callable[[Visit], T]) -> T:
        """Do some work in one transaction, under the account's lock, after what is past was ended."""

        def once(connection: Connection) -> tuple[int, T]:
            visit = self._lock(connection, account)
            return visit.expire(), work(visit)

        try:
            expired, done = self._run(once)
        except _NoAccountError:
            self._add_account(account)
            expired, done = self._run(once)
        metrics.count("reservations.expired", expired, account=account)
        return done

    def find(self, *, active: bool, **equal: object) -> list[Reservation]:
        """
        Return rows of any account, the latest last, without a lock.

        :param active: leave out what has ended
        :param equal: columns and what they are equal to, in every letter
        """
        meant = [_is_open(self._tables.reservations)] if active else []
        return self._found(_in_order(self._tables).where(*meant), equal)

    def last_ended(self, count: int, **equal: object) -> list[Reservation]:
        """
        Return the rows that ended last, the very last one first, without a lock.

        :param equal: as for ``find``
        """
        rows = self._tables.reservations
        latest_first = (rows.c.ended_at.desc(), rows.c.requested_version.desc())
        query = sa.select(*self._tables.columns).where(~_is_open(rows)).order_by(*latest_first).limit(count)
        return self._found(query, equal)

    def _found(self, query: sa.Select[Any], equal: Mapping[str, object]) -> list[Reservation]:
        columns = self._tables.reservations.c
        query = query.where(*[columns[name] == value for name, value in equal.items()])
        found = self._run(lambda connection: [row_to_reservation(row) for row in connection.execute(query)])
        # Compared again, as some databases compare texts without regard to case.
        return [row for row in found if all(getattr(row, name) == value for name, value in equal.items())]

    def _run(self, work: Callable[[Connection], T]) -> T:
        """Do some work in one transaction; again from its beginning, a few times, where the database asks for it."""

        def once() -> T:
            connection = self.engine.connect().execution_options(isolation_level=self._isolation)
            with connection, connection.begin():
                return work(connection)

        def attempt() -> T:
            try:
                return once()
            except DBAPIError as error:
                if is_transient(error) or isinstance(error, IntegrityError):
                    raise
            # Only now: tables that are as they must be need no look first.
            for table in self._tables:
                prepare_table(self.engine, table, create_table=self._create_table)
            return once()

        return with_retries(attempt, engine=self.engine, table=self._tables.reservations)

    def _lock(self, connection: Connection, account: str) -> Visit:
        this = {"this_account": _uuid(account)}
        # Before any other statement: a SELECT would fix what MariaDB shows before it waits for the lock.
        connection.execute(self._tables.lock, this)
        row = connection.execute(self._tables.locked, this).first()
        if row is None:
            raise _NoAccountError
        now = connection.execute(self._clock).scalar()
        return Visit(connection, self._tables, this["this_account"], Note(row.incarnation, row.version, _clock_us(now)))

    def _add_account(self, account: str) -> None:
        row = {"account_id": _uuid(account), "account": account, "incarnation": str(uuid4()), "version": 0}

        def add(connection: Connection) -> None:
            with suppress(IntegrityError):  # another one was faster
                connection.execute(sa.insert(self._tables.accounts).values(row))

        self._run(add)


@dataclass(frozen=True)
class Visit:
    """
    A transaction that holds an account's lock: nobody else grants, deducts or ends anything of it meanwhile.

    :param note: of this moment: whoever reads the account after it sees what this and earlier visits have ended
    """

    connection: Connection
    tables: ReservationTables
    account_id: str
    note: Note

    @property
    def now(self) -> datetime:
        """The database's clock, read after the lock."""
        return instant(self.note.at_us)

    def is_after(self, note: Note) -> bool:
        """Tell whether a note is of this very table: one that was made anew knows nothing of what was held before."""
        return note.incarnation == self.note.incarnation and note.version < self.note.version

    def rows_of(self, reservation_id: str) -> list[Reservation]:
        """Return all epochs of a reservation, the latest last."""
        found = self.connection.execute(self.tables.epochs, {"this_id": reservation_id})
        return [row_to_reservation(row) for row in found]

    def save(self, row: Reservation, *, is_new: bool) -> None:
        """Write a row of this account."""
        values = reservation_to_row(row)
        if is_new:
            self.connection.execute(sa.insert(self.tables.reservations), {"account_id": self.account_id} | values)
        else:
            self.update(row, **values)

    def update(self, row: Reservation, **values: Any) -> Reservation:
        """Change a row, and return it as it is now."""
        key = {"this_id": row.reservation_id, "this_epoch": row.epoch}
        self.connection.execute(self.tables.one_row, values | key)
        return replace(row, **values)

    def update_waiting(self, reservation_ids: Collection[str], **values: Any) -> None:
        """Change the rows of these ids that wait: one statement, however many."""
        rows, ids = self.tables.reservations, sorted(reservation_ids)
        waiting = (rows.c.account_id == self.account_id, rows.c.granted_version.is_(None), _is_open(rows))
        for begin in range(0, len(ids), _MOST_IDS):
            these = rows.c.reservation_id.in_(ids[begin : begin + _MOST_IDS])
            self.connection.execute(sa.update(rows).where(*waiting, these).values(values))

    def end(self, row: Reservation, how: str) -> Reservation:
        """End a row: an event with a version, so that every reading before it still counts the hold."""
        settles_after_us = row.settles_after_us if row.state == "held" else 0
        return self.update(
            row,
            ended_at=self.now,
            ended_version=self.note.version,
            settled_us=self.note.at_us + settles_after_us,
            ended_how=how,
        )

    def expire(self) -> int:
        """End what is past; return how many holds that were."""
        at = {"this_account": self.account_id, "at_us": self.note.at_us}
        ended = {"ended_at": self.now, "ended_version": self.note.version}
        return self.connection.execute(self.tables.expire, at | ended).rowcount

    def amount_deducted(self, row: Reservation, key: str) -> Decimal | None:
        """Return what was deducted from a row under a key; None where nothing was."""
        kept = self.tables.deductions.c
        this = kept.deduction_id == _uuid(row.reservation_id, row.epoch, key)
        amount: Decimal | None = self.connection.execute(sa.select(kept.amount).where(this)).scalar()
        return amount

    def insert_deduction(self, row: Reservation, key: str, amount: int | Decimal) -> None:
        """Note what was deducted from a row."""
        values = {
            "deduction_id": _uuid(row.reservation_id, row.epoch, key),
            "reservation_id": row.reservation_id,
            "epoch": row.epoch,
            "account_id": self.account_id,
            "deduction_key": key,
            "amount": amount,
            "deducted_at": self.now,
            "version": self.note.version,
            "settled_us": self.note.at_us + row.settles_after_us,
        }
        self.connection.execute(sa.insert(self.tables.deductions).values(values))

    def alike(self, credits: Credits, within: timedelta) -> tuple[str, ...]:
        """Note the balance, and return the other accounts that showed the very same within that time."""
        if not credits.balance:
            return ()
        shown = {"balance": credits.balance, "currency": credits.currency}
        this = {"this_account": self.account_id}
        self.connection.execute(self.tables.one_account, this | shown | {"read_us": self.note.at_us})
        same = {f"this_{name}": value for name, value in shown.items()}
        since = {"since_us": self.note.at_us - microseconds(within)}
        return tuple(sorted(self.connection.execute(self.tables.alike, this | same | since).scalars()))

    def place_of(self, row: Reservation) -> int:
        """Return the place of a waiting row in the queue."""
        rows, now_us = self.tables.reservations.c, self.note.at_us
        is_alive = (rows.seen_until_us > now_us) | (rows.called_until_us > now_us)
        is_ahead = (rows.priority > row.priority) | (
            (rows.priority == row.priority) & (rows.requested_version < row.requested_version)
        )
        waits = (rows.account_id == self.account_id, rows.ended_version.is_(None), rows.granted_version.is_(None))
        ahead = sa.select(sa.func.count()).where(*waits, is_alive, is_ahead)
        return int(self.connection.execute(ahead).scalar() or 0) + 1

    def book(self, note: Note, *, whole: bool = True) -> Book:
        """
        Return what a reading with that note is weighed against; what has long ended costs nothing.

        :param whole: with all who wait; else only those of them that a request must stand back for
        """
        fence = {"account_id": self.account_id, "version": note.version, "at_us": note.at_us}
        unseen: dict[tuple[str, int], Decimal] = defaultdict(Decimal)
        for deduction in self.connection.execute(self.tables.unseen, fence):
            unseen[deduction.reservation_id, deduction.epoch] += deduction.amount
        counted = self.tables.counted if whole else self.tables.counted_for_one
        found = [row_to_reservation(row) for row in self.connection.execute(counted, fence)]
        return Book(note, self.note.at_us, tuple(_with_unseen(row, unseen) for row in found))


class _NoAccountError(Exception):
    """Raise where an account has no row yet: it is added in a transaction of its own."""


def _in_order(tables: ReservationTables) -> sa.Select[Any]:
    """Return the query of all rows, the latest last."""
    return sa.select(*tables.columns).order_by(tables.reservations.c.requested_version, tables.reservations.c.epoch)


def _is_open(rows: sa.Table) -> sa.ColumnElement[bool]:
    """Return the condition that a row waits or holds."""
    return rows.c.ended_version.is_(None)


def _uuid(*key: object) -> str:
    """Return a key of fixed length: a database may compare texts without regard to case."""
    return str(uuid5(_NAMESPACE, json.dumps(key)))


def _with_unseen(row: Reservation, unseen: Mapping[tuple[str, int], Decimal]) -> Reservation:
    amount = unseen.get((row.reservation_id, row.epoch))
    return row if amount is None else replace(row, unseen=row.as_counted(amount))


def _clock_us(now: object) -> int:
    at = datetime.fromisoformat(now) if isinstance(now, str) else cast("datetime", now)
    return microseconds(at if at.tzinfo else at.replace(tzinfo=UTC))
