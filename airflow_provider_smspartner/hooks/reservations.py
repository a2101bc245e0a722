"""The hook of reservations: set credit aside for a campaign, deduct what was sent, release the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException, BaseHook

from airflow_provider_smspartner.account import Credits, exact_credits
from airflow_provider_smspartner.arguments import boolean, integer, optional_text, required_text, seconds
from airflow_provider_smspartner.exceptions import SMSPartnerArgumentError, SMSPartnerUnavailableError
from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook
from airflow_provider_smspartner.reservation import Note, OnRerun, Request, Reservation, exact_text

if TYPE_CHECKING:
    from decimal import Decimal

    from sqlalchemy import Table
    from sqlalchemy.engine import Engine

    from airflow_provider_smspartner.account import Account, CreditRequirement
    from airflow_provider_smspartner.sql.reservations import Ledger, Outcome

DEFAULT_TABLE = "smspartner_credit_reservations"

_calls: Counter[tuple[Any, ...]] = Counter()
"""Deductions that a try of a task has told so far, of each reservation: the default key counts them."""


class CreditReservationsHook(BaseHook):
    """
    Reserve credit of an SMS Partner account in a ledger that all campaigns share.

    The ledger is three tables of a PostgreSQL, MySQL, MariaDB or SQLite database. It knows of the campaigns that use
    it, and of nobody else: who sends without a reservation can still spend what others hold.

    A reservation is told as the ``Reservation`` that ``reserve`` returned, as the XCom of a
    ``CreditsReservationSensor``, or as its id alone, which means its latest epoch.

    :param reservations_conn_id: the Airflow connection of the ledger's database
    :param reservations_table: the name of the table of reservations; the other two begin with it
    :param schema: the schema they lie in; None is where the connection points
    :param create_table: create the tables where they are missing; when False, no DDL is issued
    :ivar written: which engine has decided on a request, and in which table: what lineage tells of
    """

    conn_name_attr = "reservations_conn_id"

    def __init__(
        self,
        reservations_conn_id: str,
        *,
        reservations_table: str = DEFAULT_TABLE,
        schema: str | None = None,
        create_table: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.reservations_conn_id = reservations_conn_id
        self.reservations_table = reservations_table
        self.schema = schema
        self.create_table = create_table
        self.written: tuple[Engine, Table] | None = None

    def open_ledger(self) -> Ledger:
        """
        Return the ledger; whoever asks for it closes it.

        :raises SMSPartnerConfigurationError: the connection leads to no database that can hold one
        """
        from airflow_provider_smspartner.sql.engine import make_engine
        from airflow_provider_smspartner.sql.reservation_visits import Visits
        from airflow_provider_smspartner.sql.reservations import Ledger

        engine = make_engine(required_text("reservations_conn_id", self.reservations_conn_id))
        return Ledger(Visits(engine, self.reservations_table, self.schema, create_table=self.create_table))

    def ledger(self) -> closing[Ledger]:
        """Return the ledger, to be used in a ``with`` statement that closes it."""
        return closing(self.open_ledger())

    def reserve(
        self,
        smspartner_conn_id: str,
        requirement: CreditRequirement,
        *,
        holder: str,
        hold_for: timedelta,
        settles_after: timedelta = timedelta(seconds=60),
        priority: int = 0,
        in_turn: bool = False,
        attempt: str = "",
        on_rerun: OnRerun = "whole",
    ) -> Reservation | None:
        """
        Read the account once, and reserve credit if enough of it is free.

        :param requirement: how much, of what
        :param holder: who holds it: a name of the campaign's own. The same one with the same requirement and attempt
            gets its own hold back, so that a call can be repeated
        :param hold_for: how long to hold it, anew after each deduction: longer than the campaign's longest pause
        :param settles_after: how long the API may take to show what was spent
        :param priority: the higher one comes first
        :param in_turn: nobody behind it takes credit first, as long as it keeps asking
        :param attempt: another one than before exchanges the hold for a new one, as a re-run of a task does
        :param on_rerun: what another attempt reserves: the ``"whole"`` again, or the ``"rest"`` that was not deducted
        :return: the reservation; None where it is not granted now
        :raises SMSPartnerError: the account was not read, or the ledger is away
        """
        request = Request(
            account=SMSPartnerHook(smspartner_conn_id).reservations_account,
            smspartner_conn_id=smspartner_conn_id,
            requirement=requirement,
            hold_for=_time("hold_for", hold_for),
            settles_after=_time("settles_after", settles_after, or_none_at_all=True),
            priority=integer("priority", priority),
            in_turn=boolean("in_turn", in_turn),
            attempt=attempt,
            on_rerun=on_rerun,
            holder=_short("holder", holder, 250),
        )
        _, outcome = self.ask(request)
        return outcome.reservation if outcome.reservation and outcome.reservation.state == "held" else None

    def ask(self, request: Request) -> tuple[Account, Outcome]:
        """
        Read the account once, decide on a request, and log the figures behind that.

        :return: the reading, and what became of the request
        :raises SMSPartnerError: the account was not read, or the ledger is away
        """
        with self.ledger() as ledger:
            note = ledger.note(request.account)
            account = SMSPartnerHook(request.smspartner_conn_id).get_account()
            outcome = ledger.grant(request, account.credits, note)
            self.written = ledger.engine, ledger.table
        if outcome.reservation is None:
            raise SMSPartnerUnavailableError("the ledger's tables were made anew during the reading: it is taken again")
        self._tell(outcome)
        return account, outcome

    def decide(self, request: Request, reading: Mapping[str, Any], note: Sequence[Any]) -> Outcome:
        """
        Decide on a request by a reading that somebody else took, and log the figures behind that.

        :param note: of the ledger, from before that reading: incarnation, version and microseconds since 1970
        """
        with self.ledger() as ledger:
            outcome = ledger.grant(request, Credits.from_reading(reading), Note(*note))
            self.written = ledger.engine, ledger.table
        self._tell(outcome)
        return outcome

    def deduct(
        self, reservation: object, amount: int | Decimal | str, *, key: str | None = None
    ) -> int | Decimal | None:
        """
        Hold that much less, after it was sent: after SMS Partner has debited it, never before.

        :param amount: what was sent, in units of the reservation's credit type
        :param key: names the part of the campaign: told twice, it counts once. Default: the task instance and the
            number of this call within its try, so that a task's retry does not count twice; outside of a task each
            call counts
        :return: what is still held; None where nothing is, as the hold has expired or ended: see the log
        :raises SMSPartnerArgumentError: it is no reservation, or the amount is none, or not above 0
        :raises SMSPartnerConfigurationError: another amount was deducted under the key before
        """
        if reservation is None:
            self.log.warning("There is no reservation to deduct from: what is sent now, other campaigns may count on")
            return None
        reservation_id, epoch = _told(reservation)
        key = None if key is None else _short("key", key, 1_000)
        with self.ledger() as ledger:
            before = ledger.look(reservation_id, epoch)
            if before is not None:
                amount = exact_credits("amount", amount, before.credit_type)
                if amount <= 0:
                    raise SMSPartnerArgumentError(f"amount is {amount}: deduct more than 0")
                key = key or _key_of_this_call(reservation_id)
                before = ledger.deduct(reservation_id, before.epoch, key, amount)
        return self._what_is_held(reservation_id, before, f"{amount} deducted")

    def extend(self, reservation: object, hold_for: timedelta) -> Reservation | None:
        """
        Hold it for so long from now on; where it has expired, reserve the rest anew, with a reading.

        :return: the reservation, of another epoch where it was reserved anew; None where it is not granted now, and
            for None
        :raises SMSPartnerArgumentError: it is no reservation, or ``hold_for`` no time that passes
        :raises SMSPartnerError: the account was not read, or the ledger is away
        """
        hold_for = _time("hold_for", hold_for)
        if reservation is None:
            self.log.warning("There is no reservation to extend: what is sent now, other campaigns may count on")
            return None
        reservation_id, epoch = _told(reservation)
        with self.ledger() as ledger:
            row = ledger.extend(reservation_id, epoch, hold_for)
        if row is None or row.state == "held":
            return row
        if row.ended_how != "expired":
            self._what_is_held(reservation_id, row, "not extended")
            return None
        self.log.warning("Reservation %s has expired: its rest is reserved anew", reservation_id)
        _, outcome = self.ask(Request.for_the_rest_of(row, hold_for))
        return outcome.reservation if outcome.reservation and outcome.reservation.state == "held" else None

    def still_holds(self, reservation: object) -> bool:
        """Return whether it holds credit: not where it is None, has expired, was released or exchanged."""
        if reservation is None:
            return False
        reservation_id, epoch = _told(reservation)
        with self.ledger() as ledger:
            row = ledger.look(reservation_id, epoch)
        return row is not None and row.state == "held"

    def release(self, reservation: object) -> None:
        """
        Give back what is held. What holds nothing any more is left as it is: a release may come twice, or too late.

        :param reservation: one, or a list of them; None does nothing
        """
        told = [_told(one) for one in as_list(reservation) if one is not None]
        with self.ledger() as ledger:
            for reservation_id, epoch in told:
                ended = ledger.release(reservation_id, epoch)
                for row in ended:
                    self.log.info("Reservation %s: %s released", reservation_id, exact_text(row.held))
                if not ended:
                    self.log.info("Reservation %s holds nothing: nothing to release", reservation_id)

    def reservations(self, smspartner_conn_id: str | None = None, *, active: bool = True) -> list[Reservation]:
        """
        Return who holds credit and who waits for it.

        :param smspartner_conn_id: of one connection; None for all
        :param active: leave out what has ended
        """
        with self.ledger() as ledger:
            return ledger.reservations(smspartner_conn_id, active=active)

    def _tell(self, outcome: Outcome) -> None:
        """Log what became of a request, with the figures behind that."""
        row, verdict = outcome.reservation, outcome.verdict
        if row is None:
            return
        conn_id = row.smspartner_conn_id
        if verdict is None:
            self.log.info("SMS Partner connection %r: this try holds %s already", conn_id, exact_text(row.held))
            return
        self.log.info("SMS Partner connection %r: %s", conn_id, verdict)
        if outcome.run_holds:
            self.log.warning("This run already holds %s, which counts against it", exact_text(outcome.run_holds))
        if row.state == "held":
            self.log.info(
                "Reserved until %s. It holds among campaigns that reserve: who sends without can still spend it",
                row.expires_at,
            )
        if outcome.alike:
            self.log.warning(
                "The accounts %s show the very same balance: if they are one, name it in the extra "
                "'reservations_account' of each connection, or campaigns on them spend the same credit",
                ", ".join([row.account, *outcome.alike]),
            )

    def _what_is_held(self, reservation_id: str, row: Reservation | None, done: str) -> int | Decimal | None:
        """Return what a row holds, and say so; None, with a warning, where it holds nothing."""
        if row is None:
            self.log.warning("There is no reservation %s in the ledger: %s", reservation_id, done)
            return None
        if row.state != "held":
            self.log.warning(
                "Reservation %s, epoch %d, holds nothing: it is %s. %s; what is sent now, other campaigns may count on",
                reservation_id,
                row.epoch,
                row.ended_how or row.state,
                done,
            )
            return None
        self.log.info("Reservation %s: %s, %s still held", reservation_id, done, exact_text(row.held))
        return row.held


def as_list(reservation: object) -> list[Any]:
    """Return one or several reservations as a list: Airflow hands on a mapped gate's as a sequence of its own."""
    is_several = isinstance(reservation, Sequence) and not isinstance(reservation, str | bytes)
    return list(reservation) if is_several else [reservation]  # type: ignore[call-overload]


def _time(name: str, value: object, *, or_none_at_all: bool = False) -> timedelta:
    return timedelta(seconds=seconds(name, value, or_none_at_all=or_none_at_all))


def _short(name: str, value: object, most: int) -> str:
    """Return a text that its column can hold."""
    text = required_text(name, value)
    if len(text) > most:
        raise SMSPartnerArgumentError(f"{name} has {len(text)} characters: use {most} at most")
    return text


def hook_of(task: Any) -> CreditReservationsHook:
    """
    Return the hook that a task's arguments name, as templates have rendered them.

    :raises SMSPartnerArgumentError: one of them names nothing
    """
    return CreditReservationsHook(
        required_text("reservations_conn_id", task.reservations_conn_id),
        reservations_table=required_text("reservations_table", task.reservations_table),
        schema=optional_text("schema", task.schema),
        create_table=task.create_table,
    )


def _told(reservation: object) -> tuple[str, int | None]:
    """Return the id and the epoch of a reservation, however it is told."""
    if isinstance(reservation, Reservation):
        return reservation.reservation_id, reservation.epoch
    if isinstance(reservation, Mapping):
        epoch = reservation.get("epoch")
        if not isinstance(epoch, int):
            raise SMSPartnerArgumentError("reservation has no epoch: use the sensor's whole XCom, or the id alone")
        return required_text("reservation_id", reservation.get("reservation_id")), epoch
    return required_text("reservation", reservation), None


def _key_of_this_call(reservation_id: str) -> str:
    """Return what names this call in every try of the task: the task instance, and how many calls came before it."""
    from json import dumps
    from uuid import uuid4

    from airflow.providers.common.compat.sdk import get_current_context

    with suppress(AirflowException, RuntimeError):
        ti = get_current_context()["ti"]
        task = (ti.dag_id, ti.task_id, ti.run_id, ti.map_index)
        a_try = (*task, ti.try_number, reservation_id)
        _calls[a_try] += 1
        return dumps([*task, _calls[a_try]])
    return str(uuid4())
