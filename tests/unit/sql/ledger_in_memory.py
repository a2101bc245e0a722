"""A ledger's rows in memory, in place of a database: so that a model can explore many thousands of its states."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, TypeVar

from airflow_provider_smspartner.account import Credits
from airflow_provider_smspartner.reservation import Book, Note, Reservation
from airflow_provider_smspartner.sql.reservation_visits import Visit

T = TypeVar("T")
Key = tuple[str, int]


@dataclass
class Rows:
    """All that a ledger of one account keeps."""

    version: int = 0
    now_us: int = 0
    reservations: dict[Key, Reservation] = field(default_factory=dict)
    deductions: dict[tuple[str, int, str], tuple[int | Decimal, int, int]] = field(default_factory=dict)

    def copy(self) -> Rows:
        return Rows(self.version, self.now_us, dict(self.reservations), dict(self.deductions))


class VisitsInMemory:
    """Visits, each of which nobody can interrupt."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def visit(self, account: str, work: Callable[[Visit], T]) -> T:
        self.rows.version += 1
        visit = VisitInMemory(self.rows)
        visit.expire()
        return work(visit)

    def find(self, *, active: bool, **equal: object) -> list[Reservation]:
        rows = sorted(self.rows.reservations.values(), key=lambda row: row.epoch)
        found = [row for row in rows if all(getattr(row, name) == value for name, value in equal.items())]
        return [row for row in found if not active or row.state != "ended"]


class VisitInMemory(Visit):
    """One visit: all that it does not say here is the real one's."""

    def __init__(self, rows: Rows) -> None:
        note: Any = Note("the table", rows.version, rows.now_us)
        super().__init__(connection=None, tables=None, account_id="", note=note)  # type: ignore[arg-type]
        object.__setattr__(self, "kept", rows)

    kept: Rows

    def rows_of(self, reservation_id: str) -> list[Reservation]:
        return [row for (of, _), row in sorted(self.kept.reservations.items()) if of == reservation_id]

    def save(self, row: Reservation, *, is_new: bool) -> None:
        assert is_new is ((row.reservation_id, row.epoch) not in self.kept.reservations)
        self.kept.reservations[row.reservation_id, row.epoch] = row

    def update(self, row: Reservation, **values: Any) -> Reservation:
        changed = replace(self.kept.reservations[row.reservation_id, row.epoch], **values)
        self.kept.reservations[row.reservation_id, row.epoch] = changed
        return changed

    def update_waiting(self, reservation_ids: Collection[str], **values: Any) -> None:
        for row in list(self.kept.reservations.values()):
            if row.reservation_id in reservation_ids and row.state == "waiting":
                self.update(row, **values)

    def expire(self) -> None:
        for row in list(self.kept.reservations.values()):
            if row.state == "held" and row.expires_us is not None and row.expires_us <= self.note.at_us:
                self.end(row, "expired")

    def amount_deducted(self, row: Reservation, key: str) -> Decimal | None:
        told = self.kept.deductions.get((row.reservation_id, row.epoch, key))
        return None if told is None else Decimal(told[0])

    def insert_deduction(self, row: Reservation, key: str, amount: int | Decimal) -> None:
        settled_us = self.note.at_us + row.settles_after_us
        self.kept.deductions[row.reservation_id, row.epoch, key] = (amount, self.note.version, settled_us)

    def alike(self, credits: Credits, within: timedelta) -> tuple[str, ...]:
        return ()

    def place_of(self, row: Reservation) -> int:
        waiting = [other for other in self.kept.reservations.values() if other.is_alive(self.note.at_us)]
        return sum(other.place() < row.place() for other in waiting) + 1

    def book(self, note: Note, *, whole: bool = True) -> Book:
        return Book(note, self.note.at_us, tuple(self._seen_by(note, row) for row in self.kept.reservations.values()))

    def _seen_by(self, note: Note, row: Reservation) -> Reservation:
        unseen: Any = sum(
            amount
            for (of, epoch, _), (amount, version, settled_us) in self.kept.deductions.items()
            if (of, epoch) == (row.reservation_id, row.epoch) and (version > note.version or settled_us > note.at_us)
        )
        return replace(row, unseen=unseen)
