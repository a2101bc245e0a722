"""Campaigns that reserve, spend, deduct, crash and run again, one step after the other: what a model interleaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from airflow_provider_smspartner.account import CreditRequirement, Credits, CreditType
from airflow_provider_smspartner.reservation import Note, Request, Reservation
from airflow_provider_smspartner.sql.reservations import Ledger
from tests.unit.sql.ledger_in_memory import Rows, VisitsInMemory

HOUR = 3_600_000_000
PRICES = {CreditType.SMS: Decimal(2), CreditType.SMS_LOW_COST: Decimal(1)}


class OverspentError(AssertionError):
    """Raise when a campaign that holds credit finds that it is not there, or loses it to somebody else's release."""


@dataclass(frozen=True)
class Plan:
    """
    What a campaign does.

    :param chunks: what it sends, one after the other, in units of its type
    :param deducts: whether it deducts each chunk after it was sent
    :param attempts: how often it may be started
    """

    name: str
    chunks: tuple[int, ...]
    credit_type: CreditType = CreditType.SMS
    deducts: bool = True
    attempts: int = 1
    in_turn: bool = False
    priority: int = 0
    on_rerun: Any = "whole"
    settles_after: int = 0
    waits: bool = True

    @property
    def needs(self) -> int:
        return sum(self.chunks)


@dataclass(frozen=True)
class Campaign:
    """How far it has come in its present attempt."""

    plan: Plan
    attempt: int = 0
    step: str = "idle"
    note: Note | None = None
    seen: Credits | None = None
    held: Reservation | None = None
    old: Reservation | None = None
    sent: int = 0
    first: int = 0
    asked: int = 0


@dataclass
class World:
    """
    The account, as SMS Partner keeps it, the ledger, and the campaigns.

    :param lag: microseconds until a debit shows in a reading
    """

    balance: Decimal
    campaigns: dict[str, Campaign]
    rows: Rows = field(default_factory=Rows)
    lag: int = 0
    debits: tuple[tuple[int, Decimal], ...] = ()
    top_ups: tuple[int, ...] = ()
    leaps: tuple[int, ...] = ()
    crashes: int = 0
    readings: int = 2

    def copy(self) -> World:
        return replace(self, campaigns=dict(self.campaigns), rows=self.rows.copy())

    @property
    def ledger(self) -> Ledger:
        visits: Any = VisitsInMemory(self.rows)
        return Ledger(visits)

    def shown(self) -> Credits:
        """Return a reading: debits show after the lag."""
        unseen = sum((amount for at, amount in self.debits if at + self.lag > self.rows.now_us), Decimal(0))
        balance = self.balance + unseen
        counts = {credit_type: int(balance // price) for credit_type, price in PRICES.items()}
        return Credits(counts[CreditType.SMS], counts[CreditType.SMS_LOW_COST], None, 0, balance, "EUR")

    def state(self) -> object:
        """Return what tells this world from another one."""
        rows = tuple(sorted(self.rows.reservations.items())), tuple(sorted(self.rows.deductions.items()))
        campaigns = tuple(self.campaigns.items())
        return (self.balance, campaigns, rows, self.rows.now_us, self.debits, self.top_ups, self.leaps, self.crashes)

    def steps(self) -> Iterator[tuple[str, str]]:
        """Yield what may happen next."""
        if self.top_ups:
            yield "world", "top up"
        if self.leaps:
            yield "world", "leap"
        for name, campaign in self.campaigns.items():
            for what in self._steps_of(campaign):
                yield name, what

    def take(self, who: str, what: str) -> None:
        """Let it happen."""
        if what == "top up":
            self.balance, self.top_ups = self.balance + self.top_ups[0], self.top_ups[1:]
        elif what == "leap":
            self.rows.now_us, self.leaps = self.rows.now_us + self.leaps[0], self.leaps[1:]
        else:
            self.campaigns[who] = getattr(self, f"_{what.replace(' ', '_')}")(self.campaigns[who])

    def _steps_of(self, campaign: Campaign) -> Iterator[str]:
        plan = campaign.plan
        if campaign.attempt < plan.attempts and campaign.step not in {"running", "noted", "read"}:
            yield "run"
        if campaign.step == "running" and campaign.asked < self.readings:
            yield "note"
        if campaign.step == "sending":
            yield "send" if campaign.sent < len(plan.chunks) else "release"
            yield from ["crash"] * bool(self.crashes)
        yield from {"noted": ["read"], "read": ["ask"], "sent": ["deduct"]}.get(campaign.step, [])
        if campaign.old is not None:
            yield "release late"

    def _run(self, campaign: Campaign) -> Campaign:
        old = campaign.held if campaign.step in {"sending", "sent"} else None
        return Campaign(campaign.plan, campaign.attempt + 1, "running", old=old or campaign.old)

    def _note(self, campaign: Campaign) -> Campaign:
        note = self.ledger.note("account")
        return replace(campaign, step="noted", note=note, asked=campaign.asked + 1)

    def _read(self, campaign: Campaign) -> Campaign:
        return replace(campaign, step="read", seen=self.shown())

    def _ask(self, campaign: Campaign) -> Campaign:
        plan = campaign.plan
        request = Request(
            "account",
            "smspartner_default",
            CreditRequirement(plan.needs, plan.credit_type),
            hold_for=timedelta(hours=1),
            settles_after=timedelta(microseconds=plan.settles_after),
            seen_for=timedelta(hours=10) if plan.waits else timedelta(0),
            priority=plan.priority,
            in_turn=plan.in_turn,
            on_rerun=plan.on_rerun,
            attempt=str(campaign.attempt),
            holder=plan.name,
        )
        assert campaign.seen is not None
        assert campaign.note is not None
        outcome = self.ledger.grant(request, campaign.seen, campaign.note)
        row = outcome.reservation
        if row is None or row.state != "held":
            return replace(campaign, step="running", note=None, seen=None)
        # What it sends: the chunks of what it was granted, from its first one that is not sent yet.
        skipped = plan.needs - int(row.amount) if plan.on_rerun == "rest" else 0
        first = next(i for i in range(len(plan.chunks) + 1) if sum(plan.chunks[:i]) >= skipped)
        return replace(campaign, step="sending", held=row, sent=first, first=first, note=None, seen=None)

    def _send(self, campaign: Campaign) -> Campaign:
        plan, held = campaign.plan, campaign.held
        assert held is not None
        row = self.rows.reservations[held.reservation_id, held.epoch]
        if row.ended_how not in {None, "expired", "exchanged"}:
            raise OverspentError(f"{plan.name} has lost its hold: it was {row.ended_how} by somebody else")
        if (row.expires_us or 0) <= self.rows.now_us or row.state != "held":
            return replace(campaign, step="done", held=None)  # a sender that looks before it sends
        amount = plan.chunks[campaign.sent] * PRICES[plan.credit_type]
        if amount > self.balance:
            raise OverspentError(f"{plan.name} holds {row.held} and finds {self.balance} of {amount}")
        self.balance -= amount
        self.debits += ((self.rows.now_us, amount),)
        return replace(campaign, step="sent" if plan.deducts else "sending", sent=campaign.sent + 1)

    def _deduct(self, campaign: Campaign) -> Campaign:
        held = campaign.held
        assert held is not None
        amount = campaign.plan.chunks[campaign.sent - 1]
        self.ledger.deduct(held.reservation_id, held.epoch, f"chunk {campaign.sent}", amount)
        return replace(campaign, step="sending")

    def _release(self, campaign: Campaign) -> Campaign:
        assert campaign.held is not None
        self.ledger.release(campaign.held.reservation_id, campaign.held.epoch)
        return replace(campaign, step="done")

    def _release_late(self, campaign: Campaign) -> Campaign:
        assert campaign.old is not None
        self.ledger.release(campaign.old.reservation_id, campaign.old.epoch)
        return replace(campaign, old=None)

    def _crash(self, campaign: Campaign) -> Campaign:
        self.crashes -= 1
        return replace(campaign, step="crashed")


def explore(world: World, check: Callable[[World], None] = lambda _: None, most: int = 300_000) -> int:
    """
    Take every step in every order, and return how many states there are.

    :param check: what must hold in each of them
    :raises OverspentError: with the steps that led to it
    """
    seen = {world.state()}
    queue: list[tuple[World, tuple[str, ...]]] = [(world, ())]
    while queue:
        here, path = queue.pop()
        for who, what in here.steps():
            there = here.copy()
            told = (*path, f"{who}: {what}")
            try:
                there.take(who, what)
            except OverspentError as error:
                raise OverspentError(f"{error}, after {'; '.join(told)}") from None
            check(there)
            state = there.state()
            if state not in seen:
                seen.add(state)
                queue.append((there, told))
                assert len(seen) <= most, f"more than {most} states: make the world smaller"
    return len(seen)
