"""The ledger of reservations: who holds what of an account, and who waits for credit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from airflow_provider_smspartner.exceptions import SMSPartnerConfigurationError
from airflow_provider_smspartner.reservation import (
    Book,
    Note,
    Request,
    Reservation,
    Verdict,
    microseconds,
    price_of,
)
from airflow_provider_smspartner.sql.reservation_tables import ReservationTables
from airflow_provider_smspartner.sql.reservation_visits import Visit, Visits, is_open, select_reservations, uuid_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from decimal import Decimal

    from sqlalchemy.engine import Engine

    from airflow_provider_smspartner.account import Credits

T = TypeVar("T")

_ALIKE_WITHIN = timedelta(minutes=15)
"""Between two readings of one balance: two connections that show it look like one account."""


@dataclass(frozen=True)
class Outcome:
    """
    What became of a request.

    :param reservation: held, or waiting; None where the reading is of another table, and must be taken anew
    :param verdict: the figures behind it; None where the same try got its own hold back
    :param run_holds: what other gates of the same DAG run hold of the account
    :param alike: other accounts of the ledger that show the very same balance: they may be one account
    """

    reservation: Reservation | None
    verdict: Verdict | None = None
    run_holds: int | Decimal = 0
    alike: tuple[str, ...] = ()


class Ledger:
    """
    Reserve, deduct, extend and release, each in one short transaction under the account's lock.

    :param engine: of PostgreSQL, MySQL, MariaDB or SQLite
    :param table: the name of the table of reservations; two more begin with it
    :param schema: where they lie; None is where the connection points
    :param create_table: create them where they are missing
    :raises SMSPartnerConfigurationError: the database cannot lock an account, or a name is empty
    """

    def __init__(self, engine: Engine, table: str, schema: str | None = None, *, create_table: bool = True) -> None:
        self._tables = ReservationTables(table, schema)
        self._visits = Visits(engine, self._tables, create_table=create_table)

    def note(self, account: str) -> Note:
        """Return the fence of a reading that is taken after this."""
        return self._visits.visit(account, lambda visit: visit.note)

    def poll(self, account: str, reservation_ids: Collection[str], seen_for: timedelta) -> Book:
        """Keep the places of those who wait; return the book of the account, whose note is the next reading's fence."""

        def look(visit: Visit) -> Book:
            visit.update_waiting(reservation_ids, seen_until_us=visit.note.at_us + microseconds(seen_for))
            return visit.book(visit.note)

        return self._visits.visit(account, look)

    def call(
        self, account: str, reservation_ids: Collection[str], credits: Credits, note: Note, called_for: timedelta
    ) -> list[Reservation]:
        """
        Return who of these is to come and take credit, and keep their places for a while.

        Decided under the lock, as another triggerer may call for the same credit.
        """

        def decide(visit: Visit) -> list[Reservation]:
            if not visit.is_after(note):
                return []
            called = visit.book(note).callable(credits, reservation_ids)
            until_us = visit.note.at_us + microseconds(called_for)
            visit.update_waiting([row.reservation_id for row in called], called_until_us=until_us)
            return called

        return self._visits.visit(account, decide)

    def grant(self, request: Request, credits: Credits, note: Note) -> Outcome:
        """
        Grant a request on a reading, or keep its place in the queue.

        :param note: of a visit before the reading
        """

        def decide(visit: Visit) -> Outcome:
            if not visit.is_after(note):
                return Outcome(None)
            past = visit.rows(self._tables.reservations.c.reservation_id == request.reservation_id)
            if past and past[-1].state == "held" and _is_same_try(past[-1], request):
                return Outcome(past[-1])
            row = _request_row(visit, request, past)
            book = visit.book(note)
            verdict = book.weigh(row, credits)
            if verdict.is_granted:
                for old in past:
                    if old.state == "held":
                        visit.end(old, "exchanged")
                row = _hold(visit, row, credits)
            run_holds = sum(other.held for other in book.rows if _is_of_the_same_run(other, row))
            return Outcome(row, verdict, run_holds, self._alike(visit, credits) if verdict.is_granted else ())

        return self._visits.visit(request.account, decide)

    def deduct(self, reservation_id: str, epoch: int | None, key: str, amount: int | Decimal) -> Reservation | None:
        """
        Hold so much less, since it was sent; count it once, however often it is told under that key.

        What has expired is still noted, for the history.

        :param epoch: None for the latest
        :return: the row afterwards; None where there is none
        :raises SMSPartnerConfigurationError: another amount was deducted under the key before
        """

        def work(visit: Visit, row: Reservation) -> Reservation:
            kept, deduction_id = self._tables.deductions.c, uuid_of(row.reservation_id, row.epoch, key)
            told = visit.connection.execute(sa.select(kept.amount).where(kept.deduction_id == deduction_id)).scalar()
            if told is not None:
                _refuse_another_amount(key, told, amount)
                return row
            if row.state == "waiting" or (row.state == "ended" and row.ended_how != "expired"):
                return row
            self._insert_deduction(visit, row, deduction_id, key, amount)
            # Never shorter than what an extension gave.
            later = max(row.expires_us or 0, visit.note.at_us + row.hold_for_us)
            expires_us = later if row.state == "held" else row.expires_us
            return visit.update(row, deducted=row.deducted + amount, expires_us=expires_us)

        return self._visit_row(reservation_id, epoch, work)

    def extend(self, reservation_id: str, epoch: int | None, hold_for: timedelta) -> Reservation | None:
        """Move the end of a hold that still holds; return its row afterwards, whatever its state."""

        def work(visit: Visit, row: Reservation) -> Reservation:
            if row.state != "held":
                return row
            us = microseconds(hold_for)
            return visit.update(row, hold_for_us=us, expires_us=visit.note.at_us + us)

        return self._visit_row(reservation_id, epoch, work)

    def release(self, reservation_id: str, epoch: int | None) -> list[Reservation]:
        """
        End a hold, or a wait.

        :param epoch: None for all that are open
        :return: the rows that this ended, as they were before
        """

        def work(visit: Visit, rows: list[Reservation]) -> list[Reservation]:
            for row in (open_rows := [row for row in rows if row.state != "ended"]):
                visit.end(row, "released" if row.state == "held" else "withdrawn")
            return open_rows

        return self._visit_rows(reservation_id, epoch, work) or []

    def look(self, reservation_id: str, epoch: int | None) -> Reservation | None:
        """Return the row, after what is past was ended; None where there is none."""
        return self._visit_row(reservation_id, epoch, lambda _, row: row)

    def reservations(self, smspartner_conn_id: str | None = None, *, active: bool = True) -> list[Reservation]:
        """Return the rows, without a lock: what is past may stand as held until somebody asks for its account."""
        conditions = [is_open(self._tables)] if active else []
        if smspartner_conn_id is not None:
            conditions.append(self._tables.reservations.c.smspartner_conn_id == smspartner_conn_id)
        return self._visits.run(lambda connection: select_reservations(connection, self._tables, *conditions))

    def of_gate(self, dag_id: str, run_id: str, task_id: str, map_index: int | None = None) -> list[Reservation]:
        """Return what a gate waits for or holds in a DAG run; None for the map index means all of a mapped one."""
        rows = self._tables.reservations.c
        conditions = (rows.run_id == run_id, rows.dag_id == dag_id, is_open(self._tables))
        found = self._visits.run(lambda connection: select_reservations(connection, self._tables, *conditions))
        gate = (dag_id, run_id, task_id)
        # Compared here: some databases compare names without regard to case.
        of_gate = [row for row in found if (row.dag_id, row.run_id, row.task_id) == gate]
        return [row for row in of_gate if map_index in {None, row.map_index}]

    def _visit_row(
        self, reservation_id: str, epoch: int | None, work: Callable[[Visit, Reservation], Reservation]
    ) -> Reservation | None:
        return self._visit_rows(reservation_id, epoch, lambda visit, rows: work(visit, rows[-1]))

    def _visit_rows(
        self, reservation_id: str, epoch: int | None, work: Callable[[Visit, list[Reservation]], T]
    ) -> T | None:
        """Do some work on the rows of an id under their account's lock."""
        rows = self._tables.reservations.c
        this = [rows.reservation_id == reservation_id] + ([] if epoch is None else [rows.epoch == epoch])
        # In a transaction of its own: the lock comes before everything else.
        found = self._visits.run(lambda connection: select_reservations(connection, self._tables, *this))
        if not found:
            return None
        return self._visits.visit(found[-1].account, lambda visit: work(visit, visit.rows(*this)))

    def _insert_deduction(
        self, visit: Visit, row: Reservation, deduction_id: str, key: str, amount: int | Decimal
    ) -> None:
        values = {
            "deduction_id": deduction_id,
            "reservation_id": row.reservation_id,
            "epoch": row.epoch,
            "account_id": visit.account_id,
            "deduction_key": key,
            "amount": amount,
            "deducted_at": visit.now,
            "version": visit.note.version,
            "settled_us": visit.note.at_us + row.settles_after_us,
        }
        visit.connection.execute(sa.insert(self._tables.deductions).values(values))

    def _alike(self, visit: Visit, credits: Credits) -> tuple[str, ...]:
        """Note the balance, and return the other accounts that showed the very same a moment ago."""
        if not credits.balance:
            return ()
        accounts = self._tables.accounts
        shown = {"balance": credits.balance, "currency": credits.currency}
        this = accounts.c.account_id == visit.account_id
        visit.connection.execute(sa.update(accounts).where(this).values(read_us=visit.note.at_us, **shown))
        recent = accounts.c.read_us >= visit.note.at_us - microseconds(_ALIKE_WITHIN)
        same = [accounts.c[name] == value for name, value in shown.items()]
        found = visit.connection.execute(sa.select(accounts.c.account).where(~this, recent, *same))
        return tuple(sorted(found.scalars()))


def _request_row(visit: Visit, request: Request, past: list[Reservation]) -> Reservation:
    """Return the waiting row of a request, which keeps its place where it waits already."""
    latest = past[-1] if past else None
    asked = request.requirement.min_credits
    sent = sum(row.deducted for row in past) if request.on_rerun == "rest" else 0
    told: dict[str, Any] = {name: getattr(request, name) for name in ("attempt", "priority", "in_turn")}
    told |= {
        "credit_type": request.requirement.credit_type,
        "subtract_pending": request.requirement.subtract_pending,
        "asked": asked,
        "amount": max(asked - sent, 0),
        "hold_for_us": microseconds(request.hold_for),
        "settles_after_us": microseconds(request.settles_after),
        "seen_until_us": visit.note.at_us + microseconds(request.seen_for),
    }
    if latest is not None and latest.state == "waiting":
        return visit.update(latest, **told)
    names = ("account", "smspartner_conn_id", "holder", "dag_id", "task_id", "run_id", "map_index")
    return visit.insert(
        Reservation(
            reservation_id=request.reservation_id,
            epoch=latest.epoch + 1 if latest else 1,
            requested_at=visit.now,
            requested_version=visit.note.version,
            **told,
            **{name: getattr(request, name) for name in names},
        )
    )


def _hold(visit: Visit, row: Reservation, credits: Credits) -> Reservation:
    return visit.update(
        row,
        granted_at=visit.now,
        granted_version=visit.note.version,
        expires_us=visit.note.at_us + row.hold_for_us,
        price=price_of(row.credit_type, credits),
        currency=credits.currency,
        balance=credits.balance,
        called_until_us=None,
    )


def _is_same_try(row: Reservation, request: Request) -> bool:
    requirement = request.requirement
    asked = (row.attempt, row.credit_type, row.asked, row.subtract_pending)
    return asked == (request.attempt, requirement.credit_type, requirement.min_credits, requirement.subtract_pending)


def _is_of_the_same_run(other: Reservation, row: Reservation) -> bool:
    is_run = row.run_id is not None and (other.dag_id, other.run_id) == (row.dag_id, row.run_id)
    return is_run and other.reservation_id != row.reservation_id


def _refuse_another_amount(key: str, before: Decimal, amount: int | Decimal) -> None:
    if before != amount:
        raise SMSPartnerConfigurationError(
            f"{amount} was to be deducted under the key {key!r}, under which {before:f} was deducted before: "
            "give each part of a campaign a key= of its own, and repeat it with the same amount"
        )
