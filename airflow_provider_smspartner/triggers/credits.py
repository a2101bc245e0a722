"""Wait for credit in the triggerer: for deferred gates, and for DAGs that start when credit comes in or runs out."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Hashable
from contextlib import aclosing
from datetime import timedelta
from decimal import Decimal
from typing import Any, Literal, Never

from airflow.providers.common.compat.triggers import BaseEventTrigger
from airflow.triggers.base import TriggerEvent

from airflow_provider_smspartner.account import Account, CreditRequirement, Credits, CreditType, exact_credits
from airflow_provider_smspartner.arguments import boolean, one_of, refuse_unknown, required_text, seconds
from airflow_provider_smspartner.exceptions import SMSPartnerArgumentError, SMSPartnerError
from airflow_provider_smspartner.hooks.smspartner import News
from airflow_provider_smspartner.triggers.memory import Latch
from airflow_provider_smspartner.triggers.readings import Reading, poll, stream_key

Direction = Literal["at_least", "below"]


class CreditsTrigger(BaseEventTrigger):
    """
    Poll an account, and fire on its credit.

    Triggers on the same connection and interval share one poll (Airflow 3.3 and newer), however many wait.

    A gate (``once=True``) fires one event and ends: the reading that meets the requirement, or the permanent error. A
    watcher, as in an ``AssetWatcher``, fires each time that the credit crosses ``min_credits``, and stays.
    Its first reading counts as a crossing where it is on the far side already, unless Airflow's asset state store (3.3
    and newer) remembers that it has fired for that: after a restart, an event too many is better than one too few.

    :param min_credits: as in ``CreditRequirement``
    :param credit_type: as in ``CreditRequirement``
    :param subtract_pending: as in ``CreditRequirement``
    :param smspartner_conn_id: the Airflow connection; the key is looked up there, and travels nowhere
    :param poke_interval: seconds or a timedelta from one poll to the next; less than a second counts as one
    :param direction: fire when there is ``"at_least"`` that much (credit came in), or less, ``"below"`` (it runs out);
        a gate waits for ``"at_least"``
    :param rearm_margin: hysteresis: how far the credit must go back over the threshold before a watcher can fire again,
        in the unit of ``min_credits``. With 50 and 25, ``"below"`` fires under 50, and again only after 75 or more
    :param once: wait as a gate does
    :param report_unreadable: fire too, once, when a permanent error keeps a watcher from reading the account (status
        ``"unreadable"``), and once when it reads again (``"readable"``). Default: with ``"below"``, where silence would
        pass for credit; a DAG that starts on credit coming in is not to start on an error
    :raises SMSPartnerArgumentError: the arguments make no sense together; the text says what to write instead
    """

    def __init__(
        self,
        *,
        min_credits: int | Decimal | float | str,
        credit_type: CreditType | str = CreditType.SMS,
        subtract_pending: bool = False,
        smspartner_conn_id: str = "smspartner_default",
        poke_interval: timedelta | float = 60.0,
        direction: Direction = "at_least",
        rearm_margin: int | Decimal | float | str = 0,
        once: bool = False,
        report_unreadable: bool | None = None,
        **unknown: Never,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's own
        refuse_unknown("CreditsTrigger", unknown)
        asked_for: Any = (min_credits, credit_type, subtract_pending)
        self.requirement = CreditRequirement(*asked_for)
        self.smspartner_conn_id = required_text("smspartner_conn_id", smspartner_conn_id)
        self.poke_interval = seconds("poke_interval", poke_interval)
        self.direction = one_of("direction", direction, ("at_least", "below"))
        self.rearm_margin = exact_credits("rearm_margin", rearm_margin, self.requirement.credit_type)
        self.once = boolean("once", once)
        is_alert = self.direction == "below"
        self.report_unreadable = boolean(
            "report_unreadable", is_alert if report_unreadable is None else report_unreadable
        )
        self._rearmed = _rearmed(self.requirement, self.direction, self.rearm_margin)
        if once and (is_alert or self.rearm_margin or self.report_unreadable):
            raise SMSPartnerArgumentError(
                "once ends with the first event that there is enough: leave direction, rearm_margin and "
                "report_unreadable to a watcher"
            )
        self._crossed = Latch(self, self._threshold())
        self._unreadable = Latch(self, f"unreadable {self._threshold()}")
        self._read = News()

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and its arguments, JSON-simple and without a secret."""
        arguments = {
            "min_credits": _json_simple(self.requirement.min_credits),
            "credit_type": self.requirement.credit_type.value,
            "subtract_pending": self.requirement.subtract_pending,
            "smspartner_conn_id": self.smspartner_conn_id,
            "poke_interval": self.poke_interval,
            "direction": self.direction,
            "rearm_margin": _json_simple(self.rearm_margin),
            "once": self.once,
            "report_unreadable": self.report_unreadable,
        }
        return f"{CreditsTrigger.__module__}.{CreditsTrigger.__qualname__}", arguments

    def shared_stream_key(self) -> Hashable:
        """Return what the triggers that share one poll have in common."""
        return stream_key(self.smspartner_conn_id, self.poke_interval)

    @classmethod
    def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncGenerator[Reading, None]:
        """Poll the account as long as anybody listens, and yield each reading; errors too are values here."""
        return poll(kwargs["smspartner_conn_id"], kwargs["poke_interval"])

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Reading]) -> AsyncIterator[TriggerEvent]:
        """Yield this trigger's own events from the readings that it shares with others."""
        failures = 0
        async for reading in shared_stream:
            failures = failures + 1 if isinstance(reading, SMSPartnerError) else 0
            self._log_reading(reading, failures)
            if not self.once:
                async for news in self._news(reading):
                    yield _event(news)
            elif verdict := self._verdict(reading):
                yield _event(verdict)
                return

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Do the same with a poll of its own: before Airflow 3.3, and where a DAG is tested."""
        async with aclosing(self.open_shared_stream(self.serialize()[1])) as stream:
            async for event in self.filter_shared_stream(stream):
                yield event

    def _log_reading(self, reading: Reading, failures: int) -> None:
        """Log what is new: thousands of triggers may wait."""
        told = self.requirement.describe(reading.credits) if isinstance(reading, Account) else str(reading)
        if not self._read.is_news(told):
            return
        if isinstance(reading, Account):
            self.log.info("SMS Partner connection %r: %s", self.smspartner_conn_id, told)
        elif reading.retryable:
            self.log.warning("Transient error, %d in a row, the wait goes on: %s", failures, reading)
        else:
            self.log.error("Permanent error, needs action: %s", reading)

    def _verdict(self, reading: Reading) -> dict[str, Any] | None:
        """Return the event that ends a gate's wait, or None as long as it goes on."""
        if isinstance(reading, SMSPartnerError):
            return None if reading.retryable else {"status": "error", "error": reading.as_event()}
        return {"status": "met", "reading": reading.reading()} if self.requirement.is_met_by(reading.credits) else None

    async def _news(self, reading: Reading) -> AsyncIterator[dict[str, Any]]:
        """Yield what a watcher has to tell of a reading, each thing once."""
        is_unreadable = self.report_unreadable and await self._unreadable.is_on()
        if isinstance(reading, SMSPartnerError):
            if self.report_unreadable and not reading.retryable and not is_unreadable:
                yield self._payload("unreadable", reading=None, error=reading.as_event())
                self._unreadable.fired(is_on=True)
            return
        if is_unreadable:
            yield self._payload("readable", reading=reading.reading())
            self._unreadable.fired(is_on=False)
        if await self._crosses(reading.credits):
            yield self._payload("crossed", reading=reading.reading())
            self._crossed.fired(is_on=True)

    def _payload(self, status: str, **seen: Any) -> dict[str, Any]:
        told = ("smspartner_conn_id", "direction", "min_credits", "credit_type")
        arguments = self.serialize()[1]
        return {"status": status} | seen | {name: arguments[name] for name in told}

    async def _crosses(self, credits: Credits) -> bool:
        """Return whether the credit is on the far side of the threshold, and a watcher has not fired for that yet."""
        available = self.requirement.available(credits)
        if available is None:
            return False
        if await self._crossed.is_on() and self._is_back(available):
            self._crossed.arm()
        is_across = self.requirement.is_met_by(credits) is (self.direction == "at_least")
        return not await self._crossed.is_on() and is_across

    def _is_back(self, available: int | Decimal) -> bool:
        return available < self._rearmed if self.direction == "at_least" else available >= self._rearmed

    def _threshold(self) -> str:
        """Return what tells this watcher from the others of an asset, whatever the pace that it polls at."""
        arguments = self.serialize()[1] | {"poke_interval": None}
        del arguments["report_unreadable"]  # 1.0 had none, and what it has stored is to be found
        return json.dumps(arguments, sort_keys=True)


def _rearmed(requirement: CreditRequirement, direction: str, margin: int | Decimal) -> int | Decimal:
    """Return where a watcher that has fired is armed again."""
    if direction == "below":
        return requirement.min_credits + margin
    if margin and margin >= requirement.min_credits:
        raise SMSPartnerArgumentError(
            f"rearm_margin is {margin}: with direction 'at_least' it must be below min_credits"
        )
    return requirement.min_credits - margin


def _json_simple(number: int | Decimal) -> int | str:
    return number if isinstance(number, int) else format(number, "f")


def _event(payload: dict[str, Any]) -> TriggerEvent:
    return TriggerEvent(payload)  # type: ignore[no-untyped-call]  # Airflow's own
