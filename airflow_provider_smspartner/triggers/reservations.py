"""Wait for a reservation in the triggerer: one reading and one visit to the ledger for all gates of an account."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Hashable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Never

from airflow.providers.common.compat.triggers import BaseEventTrigger
from airflow.triggers.base import TriggerEvent
from asgiref.sync import sync_to_async

from airflow_provider_smspartner import metrics
from airflow_provider_smspartner.arguments import optional_text, refuse_unknown, required_text, seconds
from airflow_provider_smspartner.exceptions import SMSPartnerError
from airflow_provider_smspartner.hooks.reservations import CreditReservationsHook
from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook
from airflow_provider_smspartner.reservation import TAKE_OVER, held_in_money
from airflow_provider_smspartner.triggers.readings import Pace, Reading, unforeseen

if TYPE_CHECKING:
    from airflow_provider_smspartner.reservation import Book, Note
    from airflow_provider_smspartner.sql.reservations import Ledger

CALLED_FOR = timedelta(minutes=10)
"""How long a gate that was called may take to come: its worker slot may be slow."""


@dataclass(frozen=True)
class Round:
    """
    What one interval has brought to all gates of an account.

    :param reading: of the account, or why there is none
    :param note: the fence of that reading
    :param called: the ids of the gates that are to come and take credit
    :param lost: the ids of which the ledger knows no waiting row
    """

    reading: Reading
    note: Note | None = None
    called: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()


_waiting: dict[Hashable, Counter[str]] = {}
"""The ids of the gates that wait in this process, by what they share."""


class CreditsReservationTrigger(BaseEventTrigger):
    """
    Keep a gate's place in the queue, and call it when enough credit is free for it.

    Triggers on the same connections and interval share one reading and one visit to the ledger (Airflow 3.3 and newer).
    Only those are called that can be granted, in their order. The gate itself takes the credit, on its worker.

    :param reservation_id: of the gate
    :param smspartner_conn_id: the Airflow connection of the account
    :param reservations_conn_id: the Airflow connection of the ledger's database
    :param reservations_table: the name of the ledger's table
    :param schema: the schema it lies in; None is where the connection points
    :param poke_interval: seconds or a timedelta from one reading to the next; less than a second counts as one
    :raises SMSPartnerArgumentError: an argument makes no sense
    """

    def __init__(
        self,
        *,
        reservation_id: str,
        smspartner_conn_id: str,
        reservations_conn_id: str,
        reservations_table: str,
        schema: str | None = None,
        poke_interval: timedelta | float = 60.0,
        **unknown: Never,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's own
        refuse_unknown(type(self).__name__, unknown)
        self.reservation_id = required_text("reservation_id", reservation_id)
        self.smspartner_conn_id = required_text("smspartner_conn_id", smspartner_conn_id)
        self.reservations_conn_id = required_text("reservations_conn_id", reservations_conn_id)
        self.reservations_table = required_text("reservations_table", reservations_table)
        self.schema = optional_text("schema", schema)
        self.poke_interval = seconds("poke_interval", poke_interval)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and its arguments, JSON-simple and without a secret."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {"reservation_id": self.reservation_id} | self._shared(),
        )

    def shared_stream_key(self) -> Hashable:
        """Return what the triggers that share one poll have in common."""
        return _key(self._shared())

    @classmethod
    def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncGenerator[Round, None]:
        """Poll the ledger and the account as long as anybody listens; errors too are values here."""
        return _rounds(kwargs, _waiting.setdefault(_key(kwargs), Counter()))

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Round]) -> AsyncIterator[TriggerEvent]:
        """Yield the one event of this gate: that it is called, or the permanent error."""
        with _registered(self.shared_stream_key(), self.reservation_id):
            async for each in shared_stream:
                if event := self._event(each):
                    yield TriggerEvent(event)  # type: ignore[no-untyped-call]  # Airflow's own
                    return

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Do the same with a poll of its own: before Airflow 3.3, and where a DAG is tested."""
        async with aclosing(_rounds(self._shared(), (self.reservation_id,))) as rounds:
            async for event in self.filter_shared_stream(rounds):
                yield event

    def _shared(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _SHARED}

    def _event(self, each: Round) -> dict[str, Any] | None:
        """Return the event that ends the wait, or None as long as it goes on. No log line: thousands may wait."""
        if isinstance(each.reading, SMSPartnerError):
            return None if each.reading.retryable else {"status": "error", "error": each.reading.as_event()}
        if self.reservation_id in each.called and each.note is not None:
            note = [each.note.incarnation, each.note.version, each.note.at_us]
            return {"status": "met", "reading": each.reading.reading(), "note": note}
        if self.reservation_id in each.lost:
            # Its row is gone, or holds already: the gate asks anew.
            return {"status": "met", "reading": each.reading.reading(), "note": None}
        return None


async def _rounds(kwargs: dict[str, Any], reservation_ids: Collection[str]) -> AsyncGenerator[Round, None]:
    desk, pace = _Desk(kwargs), Pace(kwargs["poke_interval"])
    try:
        while True:
            each = await desk.round(frozenset(reservation_ids), timedelta(seconds=pace.interval) + TAKE_OVER)
            yield each
            await pace.pause(each.reading)
    finally:
        await desk.aclose()


class _Desk:
    """The account and its ledger, as one poll after the other asks them; SQL runs in a thread."""

    def __init__(self, kwargs: dict[str, Any]) -> None:
        self._account = SMSPartnerHook(kwargs["smspartner_conn_id"])
        self._reservations = CreditReservationsHook(
            kwargs["reservations_conn_id"],
            reservations_table=kwargs["reservations_table"],
            schema=kwargs["schema"],
            create_table=False,  # the gate has made them
        )
        self._ledger: Ledger | None = None

    async def round(self, reservation_ids: frozenset[str], seen_for: timedelta) -> Round:
        """Keep the places, read the account, and call who can be granted; never raise an error of these."""
        try:
            return await self._round(reservation_ids, seen_for)
        except SMSPartnerError as error:
            failed = error.with_traceback(None)  # whose frames live as long as the error is passed on
        except Exception as exc:  # noqa: BLE001  # a fault of ours must not end the wait of every gate
            failed = unforeseen(exc)
        await self._close_ledger()  # its connection may have changed
        return Round(failed)

    async def aclose(self) -> None:
        await self._account.aclose()
        await self._close_ledger()

    async def _round(self, reservation_ids: frozenset[str], seen_for: timedelta) -> Round:
        name = await self._account.areservations_account()
        if self._ledger is None:
            # Airflow's way for what looks connections up: in any other thread that could deadlock.
            self._ledger = await sync_to_async(self._reservations.open_ledger)()
        book = await asyncio.to_thread(self._ledger.poll, name, reservation_ids, seen_for)
        account = await self._account.aget_account()
        called = _called(book, reservation_ids)
        if await asyncio.to_thread(book.callable, account.credits, reservation_ids):
            rows = await asyncio.to_thread(
                self._ledger.call, name, reservation_ids, account.credits, book.note, CALLED_FOR
            )
            called |= {row.reservation_id for row in rows}
        metrics.send_reserved(name, lambda: held_in_money(book.rows, account.credits), account.credits.balance)
        waiting = {row.reservation_id for row in book.rows if row.state == "waiting"}
        return Round(account, book.note, called, reservation_ids - waiting)

    async def _close_ledger(self) -> None:
        ledger, self._ledger = self._ledger, None
        if ledger is not None:
            await asyncio.to_thread(ledger.close)


def _called(book: Book, reservation_ids: frozenset[str]) -> frozenset[str]:
    """Return who of these was called before and still waits here: the event was lost with another triggerer."""
    called = {row.reservation_id for row in book.rows if row.is_called(book.now_us)}
    return reservation_ids & called


def _key(shared: dict[str, Any]) -> Hashable:
    return ("smspartner-reservations", *(shared[name] for name in _SHARED))


_SHARED = ("smspartner_conn_id", "reservations_conn_id", "reservations_table", "schema", "poke_interval")


@contextmanager
def _registered(key: Hashable, reservation_id: str) -> Iterator[None]:
    """Have the shared poll keep this gate's place as long as somebody listens for it."""
    waiting = _waiting.setdefault(key, Counter())
    waiting[reservation_id] += 1
    try:
        yield
    finally:
        waiting[reservation_id] -= 1
        if not waiting[reservation_id]:
            del waiting[reservation_id]
