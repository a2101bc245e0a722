"""The ledger of reservations: who holds what of an account, and who waits for credit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_smspartner import metrics
from airflow_provider_smspartner.exceptions import SMSPartnerConfigurationError
from airflow_provider_smspartner.reservation import (
    Book,
    Note,
    Request,
    Reservation,
    Verdict,
    exact_text,
    held_in_money,
    microseconds,
    price_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from decimal import Decimal

    from sqlalchemy import Table
    from sqlalchemy.engine import Engine

    from airflow_provider_smspartner.account import Credits
    from airflow_provider_smspartner.sql.reservation_visits import Visit, Visits

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
    :param book: what it was weighed against
    """

    reservation: Reservation | None
    verdict: Verdict | None = None
    run_holds: int | Decimal = 0
    alike: tuple[str, ...] = ()
    book: Book | None = None


class Ledger:
    """
    Reserve, deduct, extend and release, each in one short transaction under the account's lock.

    :param visits: to the accounts, one at a time for each
    """

    def __init__(self, visits: Visits) -> None:
        self._visits = visits

    @property
    def engine(self) -> Engine:
        """Of its database."""
        return self._visits.engine

    @property
    def table(self) -> Table:
        """The table of reservations."""
        return self._visits.table

    def close(self) -> None:
        """Close its connections."""
        self._visits.close()

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
            past = visit.rows_of(request.reservation_id)
            if past and past[-1].state == "held" and _is_same_try(past[-1], request):
                return Outcome(past[-1])
            row = _asked(visit, request, past)
            book = visit.book(note, whole=False)
            verdict = book.weigh(row, credits)
            if verdict.is_granted:
                for old in past:
                    # Of another account, as its connection said before, it has another lock: it expires.
                    if old.state == "held" and old.account == request.account:
                        visit.end(old, "exchanged")
                row = _held(visit, row, credits)
            else:
                verdict = replace(verdict, place=visit.place_of(row))
            visit.save(row, is_new=not past or past[-1].epoch != row.epoch)
            run_holds = sum(other.held for other in book.rows if _is_of_the_same_run(other, row))
            alike = visit.alike(credits, _ALIKE_WITHIN) if verdict.is_granted else ()
            return Outcome(row, verdict, run_holds, alike, book)

        outcome = self._visits.visit(request.account, decide)
        if outcome.verdict is not None:
            metrics.count("reservations.granted", int(outcome.verdict.is_granted), account=request.account)
            metrics.send_reserved(
                request.account, lambda: held_in_money(_rows_afterwards(outcome), credits), credits.balance
            )
        return outcome

    def deduct(self, reservation_id: str, epoch: int | None, key: str, amount: int | Decimal) -> Reservation | None:
        """
        Hold so much less, since it was sent; count it once, however often it is told under that key.

        What has expired is still noted, for the history.

        :param epoch: None for the latest
        :return: the row afterwards; None where there is none
        :raises SMSPartnerConfigurationError: another amount was deducted under the key before
        """

        def work(visit: Visit, row: Reservation) -> Reservation:
            told = visit.amount_deducted(row, key)
            if told is not None:
                _refuse_another_amount(key, told, amount)
                return row
            if row.state != "held" and row.ended_how != "expired":
                return row
            visit.insert_deduction(row, key, amount)
            # Held anew, and never shorter than what an extension gave.
            later_us = max(row.expires_us or 0, visit.note.at_us + row.hold_for_us)
            expires_us = later_us if row.state == "held" else row.expires_us
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

    def release(
        self, reservation_id: str, epoch: int | None = None, *, attempt: str | None = None
    ) -> list[Reservation]:
        """
        End a hold, or a wait.

        :param epoch: None for all that are open
        :param attempt: only what this try has asked for; None for any
        :return: the rows that this ended, as they were before
        """

        def work(visit: Visit, rows: list[Reservation]) -> list[Reservation]:
            ended = [row for row in rows if row.state != "ended" and attempt in {None, row.attempt}]
            for row in ended:
                visit.end(row, "released" if row.state == "held" else "withdrawn")
            return ended

        ended = self._visit_rows(reservation_id, epoch, work) or []
        for row in ended:
            if row.state == "held":
                metrics.count("reservations.released", account=row.account)
        return ended

    def look(self, reservation_id: str, epoch: int | None) -> Reservation | None:
        """Return the row, after what is past was ended; None where there is none."""
        return self._visit_row(reservation_id, epoch, lambda _, row: row)

    def reservations(self, smspartner_conn_id: str | None = None, *, active: bool = True) -> list[Reservation]:
        """Return the rows, without a lock: what is past may stand as held until somebody asks for its account."""
        return self._visits.find(active=active, **_of_connection(smspartner_conn_id))

    def last_ended(self, count: int, smspartner_conn_id: str | None = None) -> list[Reservation]:
        """Return the rows that ended last, the very last one first."""
        return self._visits.last_ended(count, **_of_connection(smspartner_conn_id))

    def of_gate(self, dag_id: str, run_id: str, task_id: str, map_index: int | None = None) -> list[Reservation]:
        """Return what a gate waits for or holds in a DAG run; None for the map index means all of a mapped one."""
        found = self._visits.find(active=True, dag_id=dag_id, run_id=run_id, task_id=task_id)
        return [row for row in found if map_index in {None, row.map_index}]

    def _visit_row(
        self, reservation_id: str, epoch: int | None, work: Callable[[Visit, Reservation], Reservation]
    ) -> Reservation | None:
        return self._visit_rows(reservation_id, epoch, lambda visit, rows: work(visit, rows[-1]))

    def _visit_rows(
        self, reservation_id: str, epoch: int | None, work: Callable[[Visit, list[Reservation]], T]
    ) -> T | None:
        """Do some work on the rows of an id under their account's lock."""
        # Looked up in a transaction of its own: the lock comes before everything else.
        known = self._visits.find(active=False, reservation_id=reservation_id)
        known = [row for row in known if epoch in {None, row.epoch}]
        if not known:
            return None
        account = known[-1].account

        def of_epoch(visit: Visit) -> T:
            rows = [row for row in visit.rows_of(reservation_id) if epoch in {None, row.epoch}]
            # An epoch of another account, as the connection said before, has another lock: it expires.
            return work(visit, [row for row in rows if row.account == account])

        return self._visits.visit(account, of_epoch)


def _of_connection(smspartner_conn_id: str | None) -> dict[str, str]:
    """Return what the rows of one connection have in common; nothing where all are meant."""
    return {} if smspartner_conn_id is None else {"smspartner_conn_id": smspartner_conn_id}


def _asked(visit: Visit, request: Request, past: list[Reservation]) -> Reservation:
    """Return the row of a request, which keeps its place where it waits already."""
    latest = past[-1] if past else None
    asked = request.requirement.min_credits
    sent = _sent(past) if request.on_rerun == "rest" else 0
    told: dict[str, Any] = {name: getattr(request, name) for name in ("attempt", "priority", "in_turn")}
    told |= {
        "credit_type": request.requirement.credit_type,
        "subtract_pending": request.requirement.subtract_pending,
        "asked": asked,
        "amount": max(asked - sent, 0),
        "hold_for_us": microseconds(request.hold_for),
        "settles_after_us": microseconds(request.settles_after),
        "seen_until_us": visit.note.at_us + microseconds(request.seen_for),
        # It has come: where that is in vain, what it was called for is no more kept for it.
        "called_until_us": None,
    }
    if latest is not None and latest.state == "waiting":
        if latest.account == request.account:
            return replace(latest, **told)
        # Its connection named another account before, under whose lock nobody would see this hold.
        visit.end(latest, "withdrawn")
    names = ("account", "smspartner_conn_id", "holder", "dag_id", "task_id", "run_id", "map_index")
    return Reservation(
        reservation_id=request.reservation_id,
        epoch=latest.epoch + 1 if latest else 1,
        requested_at=visit.now,
        requested_version=visit.note.version,
        **told,
        **{name: getattr(request, name) for name in names},
    )


def _sent(past: list[Reservation]) -> int | Decimal:
    """Return what was deducted since the whole was reserved last: what came before that is sent again."""
    granted = [row for row in past if row.granted_version is not None]
    last_whole = max((place for place, row in enumerate(granted) if row.amount == row.asked), default=0)
    return sum(row.deducted for row in granted[last_whole:])


def _rows_afterwards(outcome: Outcome) -> Iterator[Reservation]:
    """Yield the rows of the account after a decision: a hold has come in place of its earlier epochs."""
    row = outcome.reservation
    if row is None or outcome.book is None:
        return
    yield row
    for other in outcome.book.rows:
        is_replaced = other.epoch == row.epoch or row.state == "held"
        if other.reservation_id != row.reservation_id or not is_replaced:
            yield other


def _held(visit: Visit, row: Reservation, credits: Credits) -> Reservation:
    return replace(
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
            f"{amount} was to be deducted under the key {key!r}, under which {exact_text(before)} was deducted before: "
            "give each part of a campaign a key= of its own, and repeat it with the same amount"
        )
