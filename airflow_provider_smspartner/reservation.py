"""What campaigns hold of an account and who waits for credit: a row each, and the one decision over them. No I/O."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Context, Decimal
from functools import cached_property
from typing import Literal, Self
from uuid import UUID, uuid5

from airflow_provider_smspartner.account import SMALLEST_STEP, CreditRequirement, Credits, CreditType
from airflow_provider_smspartner.exceptions import SMSPartnerArgumentError

OnRerun = Literal["whole", "rest"]

TAKE_OVER = timedelta(seconds=120)
"""How long a gate keeps its place past its next poll: another triggerer may take over what a dead one has left."""

_NAMESPACE = UUID("0d6c9f0b-3f0e-4a5e-9a63-6b7f0c1b8e52")
"""Of every reservation_id. Another one would make a re-run miss its own hold, so it never changes."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ROUND_UP = Context(prec=40, rounding=ROUND_CEILING)

_SHARED = (
    "account",
    "smspartner_conn_id",
    "priority",
    "in_turn",
    "attempt",
    "holder",
    "dag_id",
    "task_id",
    "run_id",
    "map_index",
)
"""What a request and its reservation both say."""

_SMS_TYPES = {CreditType.SMS, CreditType.SMS_LOW_COST}
_COUNTS = {*_SMS_TYPES, CreditType.HLR}


def microseconds(value: datetime | timedelta) -> int:
    """Return an instant as microseconds since 1970, or a length of time as microseconds: exact, unlike a float."""
    return (value - _EPOCH if isinstance(value, datetime) else value) // _MICROSECOND


def instant(us: int) -> datetime:
    """Return the aware UTC instant of so many microseconds since 1970."""
    return _EPOCH + us * _MICROSECOND


def reservation_id(
    smspartner_conn_id: str,
    dag_id: str | None = None,
    task_id: str | None = None,
    run_id: str | None = None,
    map_index: int | None = None,
    *,
    holder: str | None = None,
) -> str:
    """Return the id that is the same for every try and re-run of one gate in one DAG run, or for one holder."""
    # As a JSON list, because joined text would give ("a.b", "c") and ("a", "b.c") one id.
    key = json.dumps([smspartner_conn_id, holder, dag_id, task_id, run_id, map_index])
    return str(uuid5(_NAMESPACE, key))


@dataclass(frozen=True)
class Request:
    """
    What a campaign asks for.

    :param account: the name that connections share when they are one account; else the conn id
    :param hold_for: how long to hold it after the grant, and anew after each deduction
    :param settles_after: how long the API may take to show what was spent
    :param seen_for: how long to keep its place in the queue without being asked again; 0 for who does not wait
    :param on_rerun: reserve the ``"whole"`` again where another try asks, or the ``"rest"`` that was not deducted
    :param attempt: the try: the same one gets its own hold back, another one exchanges it
    :param holder: who asks, where no Airflow task does
    :raises SMSPartnerArgumentError: it makes no sense; the text says what to write instead
    """

    account: str
    smspartner_conn_id: str
    requirement: CreditRequirement
    hold_for: timedelta
    settles_after: timedelta = timedelta(0)
    seen_for: timedelta = timedelta(0)
    priority: int = 0
    in_turn: bool = False
    on_rerun: OnRerun = "whole"
    attempt: str = ""
    holder: str | None = None
    dag_id: str | None = None
    task_id: str | None = None
    run_id: str | None = None
    map_index: int | None = None

    def __post_init__(self) -> None:
        if self.requirement.min_credits <= 0:
            raise _refused(
                "min_credits", self.requirement.min_credits, "a reservation of nothing holds nothing: use more"
            )
        if self.hold_for <= timedelta(0):
            raise _refused("hold_for", self.hold_for, "use a time above 0, longer than the campaign's longest pause")
        if self.settles_after < timedelta(0):
            raise _refused("settles_after", self.settles_after, "use a time of 0 or more")
        if self.on_rerun not in {"whole", "rest"}:
            raise _refused("on_rerun", self.on_rerun, "use 'whole' or 'rest'")

    @classmethod
    def for_the_rest_of(cls, row: Reservation, hold_for: timedelta) -> Self:
        """Return the request for what an expired reservation has not deducted."""
        return cls(
            requirement=CreditRequirement(row.asked, row.credit_type, row.subtract_pending),
            hold_for=hold_for,
            settles_after=row.settles_after_us * _MICROSECOND,
            on_rerun="rest",
            **{name: getattr(row, name) for name in _SHARED},
        )

    @property
    def reservation_id(self) -> str:
        """The same for every try and re-run of one gate in one DAG run."""
        task = (self.dag_id, self.task_id, self.run_id, self.map_index)
        return reservation_id(self.smspartner_conn_id, *task, holder=self.holder)


@dataclass(frozen=True)
class Note:
    """
    A moment of an account's ledger, taken before the account is read: the fence of that reading.

    What was granted, deducted or ended after it may or may not show in the reading, so it counts against it.

    :param incarnation: of the account's row: another one means that the table was made anew
    :param version: of the account's row
    :param at_us: the database's clock, in microseconds since 1970
    """

    incarnation: str
    version: int
    at_us: int


@dataclass(frozen=True)
class Reservation:
    """
    One row of the ledger: what a campaign asked for, what was granted of it, and how that ended.

    Instants are by the database's clock.

    :param reservation_id: the same for every try and re-run of one gate in one DAG run
    :param epoch: counts the requests of that id
    :param account: the name that connections share when they are one account; else the conn id
    :param asked: what the campaign needs, in units of ``credit_type``
    :param amount: what is reserved of that, or is to be: less where a re-run asks for the rest alone
    :param holder: who holds it, where no Airflow task does
    :param attempt: the try of the task that asked
    :param priority: the higher one comes first
    :param in_turn: nobody behind it takes credit first
    :param hold_for_us: how long it is held after its grant or its last deduction, in microseconds
    :param settles_after_us: how long the API may take to show what was spent, in microseconds
    :param requested_version: its place among others of its priority
    :param seen_until_us: until when a waiting one counts as alive, in microseconds since 1970
    :param called_until_us: until when its place is kept, after its gate was called to come and take the credit
    :param expires_us: when the hold ends by itself
    :param price: of one unit when it was granted, rounded up, in ``currency``; None for an amount of money
    :param balance: of the account when it was granted
    :param deducted: what was sent and deducted
    :param settled_us: when its end surely shows in a reading
    :param ended_how: ``released``, ``expired``, ``exchanged`` for a newer epoch, or ``withdrawn`` while waiting
    :param unseen: what of ``deducted`` a reading may not show yet
    """

    reservation_id: str
    epoch: int
    account: str
    smspartner_conn_id: str
    credit_type: CreditType
    asked: int | Decimal
    amount: int | Decimal
    holder: str | None = None
    dag_id: str | None = None
    task_id: str | None = None
    run_id: str | None = None
    map_index: int | None = None
    attempt: str = ""
    subtract_pending: bool = False
    priority: int = 0
    in_turn: bool = False
    hold_for_us: int = 0
    settles_after_us: int = 0
    requested_at: datetime | None = None
    requested_version: int = 0
    seen_until_us: int = 0
    called_until_us: int | None = None
    granted_at: datetime | None = None
    granted_version: int | None = None
    expires_us: int | None = None
    price: Decimal | None = None
    currency: str | None = None
    balance: Decimal | None = None
    deducted: int | Decimal = 0
    ended_at: datetime | None = None
    ended_version: int | None = None
    settled_us: int | None = None
    ended_how: str | None = None
    unseen: int | Decimal = field(default=0, compare=False)

    @property
    def state(self) -> Literal["waiting", "held", "ended"]:
        """Whether it waits for credit, holds it, or is history."""
        if self.ended_version is not None:
            return "ended"
        return "waiting" if self.granted_version is None else "held"

    @property
    def rest(self) -> int | Decimal:
        """What of the amount was not deducted."""
        return max(self.amount - self.deducted, 0)

    @property
    def held(self) -> int | Decimal:
        """What it holds now: nothing while it waits, and after its end."""
        return self.rest if self.state == "held" else 0

    @property
    def expires_at(self) -> datetime | None:
        """When the hold ends by itself."""
        return None if self.expires_us is None else instant(self.expires_us)

    @property
    def origin(self) -> str:
        """Who asked, as a log or a list tells it."""
        if self.dag_id is None:
            return self.holder or self.reservation_id
        mapped = "" if self.map_index in {None, -1} else f"[{self.map_index}]"
        return f"{self.dag_id}.{self.task_id}{mapped}, run {self.run_id}"

    def as_xcom(self) -> dict[str, int | str]:
        """Return what a task hands on to those that send and release: JSON-simple, the amount an exact string."""
        return {"reservation_id": self.reservation_id, "epoch": self.epoch, "held": exact_text(self.held)}

    def as_counted(self, amount: int | Decimal) -> int | Decimal:
        """Return an amount as its credit type counts it: counts are whole, though a table's column is a decimal."""
        return amount if self.credit_type is CreditType.BALANCE else int(amount)

    def place(self) -> tuple[int, int]:
        """Return what the queue is sorted by: the highest priority first, then who came first."""
        return (-self.priority, self.requested_version)

    def is_called(self, now_us: int) -> bool:
        """Tell whether its gate was called to come, and has time left to do so."""
        return self.state == "waiting" and (self.called_until_us or 0) > now_us

    def is_alive(self, now_us: int) -> bool:
        """Tell whether somebody still waits behind this row: a dead one is passed over."""
        return self.is_called(now_us) or (self.state == "waiting" and self.seen_until_us > now_us)

    def counted(self, note: Note) -> int | Decimal:
        """Return what of it a reading with that note may not show as spent, and so counts against the reading."""
        if self.granted_version is None:
            return 0
        counted = min(max(self.amount - self.deducted + self.unseen, 0), self.amount)
        if self.ended_version is None or self.settled_us is None or self.ended_version > note.version:
            return counted
        if self.ended_how == "exchanged":  # its rest went over to the newer epoch
            return min(counted, self.unseen)
        return counted if self.settled_us > note.at_us else 0


@dataclass(frozen=True)
class Verdict:
    """
    Whether a request is granted, and the figures behind that.

    :param unit: what the figures count: a credit type, or the account's currency
    :param holds: what the account holds, without what is pending where that is subtracted; None for unknown
    :param others: what other campaigns hold of it
    :param ahead: what is kept for gates ahead of this one that are called, or wait ``in_turn``
    :param needed: what is asked for
    :param place: in the queue; 1 is its head
    :param unknown: why nobody can tell, where that is so
    """

    unit: str
    holds: int | Decimal | None
    others: int | Decimal
    ahead: int | Decimal
    needed: int | Decimal
    place: int
    unknown: str | None = None

    @property
    def free(self) -> int | Decimal | None:
        """What nobody holds and nothing is kept for; None where it is unknown."""
        return None if self.holds is None else self.holds - self.others - self.ahead

    @property
    def is_granted(self) -> bool:
        """Whether what is free covers what is needed."""
        return self.free is not None and self.free >= self.needed

    def __str__(self) -> str:
        """Tell all figures in one line for a log."""
        if self.unknown is not None:
            return f"{self.unknown}; {_told(self.needed)} {self.unit} needed: place {self.place} in the queue"
        kept = f", {_told(self.ahead)} are kept for gates ahead" if self.ahead else ""
        return (
            f"the account holds {_told(self.holds)} {self.unit}, other campaigns hold {_told(self.others)}{kept}, "
            f"{_told(self.free)} are free, {_told(self.needed)} needed: "
            + ("reserved" if self.is_granted else f"not enough, place {self.place} in the queue")
        )


@dataclass(frozen=True)
class Book:
    """
    The open rows of an account, and the ended ones that a reading may not show yet, at one moment.

    :param note: of the reading that they are weighed against
    :param now_us: the database's clock
    """

    note: Note
    now_us: int
    rows: tuple[Reservation, ...]

    def weigh(self, request: Reservation, credits: Credits) -> Verdict:
        """
        Decide on one request.

        :param request: its row, waiting. Where an older epoch of it still holds, that one's rest is exchanged, and so
            counts only for what the reading may not show as spent yet
        """
        ahead = [row for row in self._queue() if row.place() < request.place()]
        held = _Sum(credits, ((row, self._counted_against(request, row)) for row in self.rows))
        promised = _Sum(credits, ((row, row.amount) for row in ahead if self._takes(row)))
        return self._verdict(request, credits, held, promised, len(ahead) + 1)

    def callable(self, credits: Credits, reservation_ids: Collection[str]) -> list[Reservation]:
        """
        Return who of these can be granted, in their order: each one that is called counts as a taker for the next.

        Who is called already is not called again.
        """
        # What counts against everybody is summed up once: a thousand may wait.
        held = _Sum(credits, ((row, row.counted(self.note)) for row in self.rows))
        promised = _Sum(credits)
        exchanging = {row.reservation_id for row in self.rows if row.state == "held"}
        called = []
        for place, row in enumerate(self._queue(), start=1):
            takes = self._takes(row)
            if row.reservation_id in reservation_ids and not row.is_called(self.now_us):
                against = held
                if row.reservation_id in exchanging:
                    against = _Sum(credits, ((other, self._counted_against(row, other)) for other in self.rows))
                if self._verdict(row, credits, against, promised, place).is_granted:
                    called.append(row)
                    takes = True
            if takes:
                promised.add(row, row.amount)
        return called

    def _queue(self) -> list[Reservation]:
        return sorted((row for row in self.rows if row.is_alive(self.now_us)), key=Reservation.place)

    def _takes(self, row: Reservation) -> bool:
        """Tell whether nobody behind this waiting row may take the credit that it waits for."""
        return row.in_turn or row.is_called(self.now_us)

    def _counted_against(self, request: Reservation, row: Reservation) -> int | Decimal:
        counted = row.counted(self.note)
        is_exchanged = row.reservation_id == request.reservation_id and row.state == "held"
        return min(counted, row.unseen) if is_exchanged and self._shows(row, request.requested_at) else counted

    def _shows(self, row: Reservation, since: datetime | None) -> bool:
        """Tell whether the reading shows what a row's campaign spent before that: it may have died undeducted."""
        is_late = since is not None and self.note.at_us < microseconds(since) + row.settles_after_us
        return not (row.settles_after_us and is_late)

    def _verdict(self, request: Reservation, credits: Credits, held: _Sum, promised: _Sum, place: int) -> Verdict:
        # If any gate of an account subtracts what is pending, all do: it is paid from the one balance.
        pending = self._pending | ({request.credit_type} if request.subtract_pending else set())
        types = held.types | promised.types | {request.credit_type}
        # As soon as two types hold, all compare in money: they are one balance at several prices.
        is_count = len(types) == 1 and types <= (_SMS_TYPES if pending else _COUNTS)
        unit = request.credit_type if is_count else None
        name = unit.value if unit else credits.currency or "money"
        try:
            needed = request.amount if unit else _cost(request, request.amount, credits)
            holds = _available(unit, pending, credits)
            return Verdict(name, holds, held.total(unit), promised.total(unit), needed, place)
        except _UnknownError as unknown:
            return Verdict(request.credit_type.value, None, 0, 0, request.amount, place, str(unknown))

    @cached_property
    def _pending(self) -> set[CreditType]:
        """Return what the gates count that subtract what is pending."""
        subtracting = (row for row in self.rows if row.subtract_pending)
        return {row.credit_type for row in subtracting if row.state == "held" or row.is_alive(self.now_us)}


class _UnknownError(Exception):
    """Raise where a figure is missing that a decision needs: not yet, and never a guess."""


class _Sum:
    """What rows take together: as a count where they count the same, and in money where that is asked for."""

    def __init__(self, credits: Credits, taken: Iterable[tuple[Reservation, int | Decimal]] = ()) -> None:
        self.types: set[CreditType] = set()
        self._credits = credits
        self._count: int | Decimal = 0
        self._money = Decimal(0)
        self._not_in_money: list[tuple[Reservation, int | Decimal]] = []
        for row, amount in taken:
            self.add(row, amount)

    def add(self, row: Reservation, amount: int | Decimal) -> None:
        if amount:
            self.types.add(row.credit_type)
            self._count += amount
            self._not_in_money.append((row, amount))

    def total(self, unit: CreditType | None) -> int | Decimal:
        """Return the sum, which None for the unit asks for in money."""
        if unit:
            return self._count
        while self._not_in_money:
            self._money += _cost(*self._not_in_money[-1], self._credits)
            self._not_in_money.pop()
        return self._money


def held_in_money(rows: Iterable[Reservation], credits: Credits) -> Decimal | None:
    """Return what the rows hold together, in the account's currency; None where a price is unknown."""
    try:
        return Decimal(_Sum(credits, ((row, row.held) for row in rows)).total(None))
    except _UnknownError:
        return None


def price_of(credit_type: CreditType, credits: Credits) -> Decimal | None:
    """Return the price of one unit that a reading implies, rounded up; None where it implies none."""
    count = credits.of(credit_type)
    if credit_type is CreditType.BALANCE or not count or credits.balance is None:
        return None
    return _rounded_up(_ROUND_UP.divide(credits.balance, Decimal(count)))


def _why_no_price(credit_type: CreditType, credits: Credits) -> str:
    told = f"the account's figures imply no price of {credit_type.value!r}"
    unreadable = [name for name in (credit_type.value, CreditType.BALANCE.value) if name in credits.unreadable]
    return f"{told}: {credits.why_unknown(unreadable[0])}" if unreadable else told


def _cost(row: Reservation, amount: int | Decimal, credits: Credits) -> Decimal:
    """Return the money that an amount of a row takes: at the price of its grant, or today's where that has risen."""
    if row.currency is not None and row.currency != credits.currency:
        reported = credits.currency or "no currency"
        raise _UnknownError(f"credit is held in {row.currency}, and the account reports {reported}")
    if row.credit_type is CreditType.BALANCE:
        return Decimal(amount)
    price, count, balance = row.price, credits.of(row.credit_type), credits.balance
    has_risen = price is not None and count is not None and balance is not None and price * (int(count) + 1) < balance
    if price is None or has_risen:
        price = price_of(row.credit_type, credits)
    if price is None:
        raise _UnknownError(_why_no_price(row.credit_type, credits))
    return _rounded_up(_ROUND_UP.multiply(price, Decimal(amount)))


def _available(unit: CreditType | None, pending: set[CreditType], credits: Credits) -> int | Decimal:
    """Return what the account holds in that unit, None being money, less what is pending where that is subtracted."""
    credit_type = unit or CreditType.BALANCE
    holds = credits.of(credit_type)
    if holds is None:
        raise _UnknownError(credits.why_unknown(credit_type.value))
    if not pending:
        return holds
    if credits.to_send is None:
        raise _UnknownError(credits.why_unknown("to_send"))
    if unit:
        return holds - credits.to_send
    prices = [price_of(credit_type, credits) for credit_type in pending]
    known = [price for price in prices if price is not None]
    if credits.to_send and len(known) < len(prices):
        raise _UnknownError("SMS are pending, and the account's figures imply no price of them")
    return holds - _rounded_up(max(known, default=Decimal(0)) * credits.to_send)


def _rounded_up(amount: Decimal) -> Decimal:
    return amount.quantize(SMALLEST_STEP, context=_ROUND_UP)


def exact_text(figure: int | Decimal) -> str:
    """Return a figure as text, exactly and without the zeros that a table's column adds."""
    return format(figure.normalize(), "f") if isinstance(figure, Decimal) else str(figure)


def _told(figure: int | Decimal | None) -> str:
    return "unknown" if figure is None else exact_text(figure)


def _refused(name: str, value: object, advice: str) -> SMSPartnerArgumentError:
    return SMSPartnerArgumentError(f"{name} is {value!s}: {advice}")
