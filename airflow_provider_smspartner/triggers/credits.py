"""Wait for credit in the triggerer: for deferred gates, and for DAGs that start when credit comes in or runs out."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Hashable
from contextlib import aclosing
from decimal import Decimal
from typing import Any, Literal
from uuid import NAMESPACE_OID, uuid5

from airflow.providers.common.compat.triggers import BaseEventTrigger
from airflow.triggers.base import TriggerEvent

from airflow_provider_smspartner.account import Account, CreditRequirement, Credits, CreditType, exact_credits
from airflow_provider_smspartner.exceptions import SMSPartnerError
from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook

Reading = Account | SMSPartnerError
"""What a poll yields. Errors travel as values: raised in a shared stream, one would fail every gate on it."""

Direction = Literal["at_least", "below"]

SHORTEST_INTERVAL = 1.0
"""Seconds between two polls, whatever a DAG author writes: a shared account is not to be hammered."""

STORED_BY_THEN = 5.0
"""Seconds after which Airflow surely has an event in its database; it stores them about once a second."""

TOLD_AGAIN_AFTER = 900.0
"""Seconds after which a trigger logs again what it has logged last, so that a reader sees that it still polls."""

LONGEST_PAUSE = 900.0
"""Seconds that a server's ``Retry-After`` can hold up the next poll."""


class CreditsTrigger(BaseEventTrigger):
    """
    Poll an account, and fire on its credit.

    Triggers on the same connection and interval share one poll (Airflow 3.3 and newer), however many wait.

    A gate (``once=True``) fires one event and ends: the reading that meets the requirement, or the error that needs a
    person. A watcher, as in an ``AssetWatcher``, fires each time that the credit crosses ``min_credits``, and stays.
    Its first reading counts as a crossing where it is on the far side already, unless Airflow's asset state store (3.3
    and newer) remembers that it has fired for that: after a restart, an event too many is better than one too few.

    :param min_credits: as in ``CreditRequirement``
    :param credit_type: as in ``CreditRequirement``
    :param subtract_pending: as in ``CreditRequirement``
    :param smspartner_conn_id: the Airflow connection; the key is looked up there, and travels nowhere
    :param poke_interval: seconds from one poll to the next, one at least
    :param direction: fire when there is ``"at_least"`` that much (credit came in), or less, ``"below"`` (it runs out);
        a gate waits for ``"at_least"``
    :param rearm_margin: how far the credit must go back over the threshold before a watcher can fire again, in the
        unit of ``min_credits``: with 50 and 25, ``"below"`` fires under 50, and again only after 75 or more
    :param once: wait as a gate does
    :raises ValueError: the arguments make no sense together; the text says what to write instead
    """

    def __init__(
        self,
        *,
        min_credits: int | Decimal | str,
        credit_type: CreditType | str = CreditType.SMS,
        subtract_pending: bool = False,
        smspartner_conn_id: str = "smspartner_default",
        poke_interval: float = 60.0,
        direction: Direction = "at_least",
        rearm_margin: int | Decimal | str = 0,
        once: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's own
        asked_for: Any = (min_credits, credit_type, subtract_pending)
        self.requirement = CreditRequirement(*asked_for)
        self.smspartner_conn_id = smspartner_conn_id
        self.poke_interval = float(poke_interval)
        self.direction = direction
        self.rearm_margin = exact_credits("rearm_margin", rearm_margin, self.requirement.credit_type)
        self.once = once
        self._rearmed = _rearmed(self.requirement, direction, self.rearm_margin)
        self._has_fired: bool | None = None
        self._remembered: bool | None = None
        self._fired_at = 0.0
        self._told: str | None = None
        self._tell_again_at = 0.0

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
        }
        return f"{CreditsTrigger.__module__}.{CreditsTrigger.__qualname__}", arguments

    def shared_stream_key(self) -> Hashable:
        """Return what the triggers that share one poll have in common."""
        return ("smspartner-credits", self.smspartner_conn_id, self.poke_interval)

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncGenerator[Reading, None]:
        """Poll the account as long as anybody listens, and yield each reading; errors too are values here."""
        hook = SMSPartnerHook(kwargs["smspartner_conn_id"])
        interval = max(float(kwargs["poke_interval"]), SHORTEST_INTERVAL)
        failures = 0
        try:
            while True:
                reading = await _read(hook)
                yield reading
                failures = failures + 1 if isinstance(reading, SMSPartnerError) else 0
                await asyncio.sleep(_pause(reading, failures, interval))
        finally:
            await hook.aclose()

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Reading]) -> AsyncIterator[TriggerEvent]:
        """Yield this trigger's own events from the readings that it shares with others."""
        failures = 0
        async for reading in shared_stream:
            failures = failures + 1 if isinstance(reading, SMSPartnerError) else 0
            self._log_reading(reading, failures)
            if self.once:
                if event := self._verdict(reading):
                    yield _event(event)
                    return
            elif isinstance(reading, Account) and await self._crosses(reading.credits):
                yield _event(self._crossing(reading))
                self._has_fired, self._fired_at = True, time.monotonic()

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Do the same with a poll of its own: before Airflow 3.3, and where a DAG is tested."""
        async with aclosing(self.open_shared_stream(self.serialize()[1])) as stream:
            async for event in self.filter_shared_stream(stream):
                yield event

    def _log_reading(self, reading: Reading, failures: int) -> None:
        """Log what is new: each line of a trigger takes a triggerer's main loop a turn, and thousands may wait."""
        told = self.requirement.describe(reading.credits) if isinstance(reading, Account) else str(reading)
        if told == self._told and time.monotonic() < self._tell_again_at:
            return
        self._told, self._tell_again_at = told, time.monotonic() + TOLD_AGAIN_AFTER
        if isinstance(reading, Account):
            self.log.info("SMS Partner connection %r: %s", self.smspartner_conn_id, told)
        elif reading.retryable:
            self.log.warning("No reading, %d in a row, not yet: %s", failures, reading)
        else:
            self.log.error("No reading, and a person is needed: %s", reading)

    def _verdict(self, reading: Reading) -> dict[str, Any] | None:
        """Return the event that ends a gate's wait, or None as long as it goes on."""
        if isinstance(reading, SMSPartnerError):
            return None if reading.retryable else {"status": "error", "error": reading.as_event()}
        return {"status": "met", "reading": reading.reading()} if self.requirement.is_met_by(reading.credits) else None

    def _crossing(self, account: Account) -> dict[str, Any]:
        told = ("smspartner_conn_id", "direction", "min_credits", "credit_type")
        arguments = self.serialize()[1]
        return {"status": "crossed", "reading": account.reading()} | {name: arguments[name] for name in told}

    async def _crosses(self, credits: Credits) -> bool:
        """Return whether the credit is on the far side of the threshold, and a watcher has not fired for that yet."""
        available = self.requirement.available(credits)
        if available is None:
            return False
        if self._has_fired is None:
            self._has_fired = self._remembered = await self._recall()
        if self._has_fired and self._is_back(available):
            self._has_fired = False
        is_stored = not self._has_fired or time.monotonic() - self._fired_at >= STORED_BY_THEN
        # Not before: a triggerer that dies in between is to fire again, rather than never.
        if self._has_fired is not self._remembered and is_stored:
            await self._remember(self._has_fired)
        is_across = self.requirement.is_met_by(credits) is (self.direction == "at_least")
        return is_across and not self._has_fired

    def _is_back(self, available: int | Decimal) -> bool:
        return available < self._rearmed if self.direction == "at_least" else available >= self._rearmed

    async def _recall(self) -> bool:
        """Return whether this watcher fired before the triggerer was (re)started, as far as Airflow knows."""
        store = getattr(self, "asset_state_store", None)
        if store is None:
            return False
        try:
            return bool(await store.aget(self._memory_key(), False))
        except Exception as exc:  # noqa: BLE001  # a watcher without memory fires once too often; a dead one never
            self.log.warning("What was fired for last could not be looked up (%s)", type(exc).__name__)
            return False

    async def _remember(self, has_fired: bool) -> None:
        self._remembered = has_fired
        store = getattr(self, "asset_state_store", None)
        if store is None:
            return
        try:
            await store.aset(self._memory_key(), has_fired)
        except Exception as exc:  # noqa: BLE001  # as above
            self.log.warning("What was fired for last could not be stored (%s)", type(exc).__name__)

    def _memory_key(self) -> str:
        """Return one key a threshold: an asset may have several watchers."""
        arguments = self.serialize()[1] | {"poke_interval": None}
        return f"smspartner-{uuid5(NAMESPACE_OID, json.dumps(arguments, sort_keys=True))}"


def _rearmed(requirement: CreditRequirement, direction: Direction, margin: int | Decimal) -> int | Decimal:
    """Return where a watcher that has fired is armed again."""
    if direction == "below":
        return requirement.min_credits + margin
    if direction != "at_least":
        raise ValueError(f"direction is {direction!r}: use 'at_least' or 'below'")
    if margin and margin >= requirement.min_credits:
        raise ValueError(f"rearm_margin is {margin}: with direction 'at_least' it must be below min_credits")
    return requirement.min_credits - margin


def _json_simple(number: int | Decimal) -> int | str:
    return number if isinstance(number, int) else format(number, "f")


def _event(payload: dict[str, Any]) -> TriggerEvent:
    return TriggerEvent(payload)  # type: ignore[no-untyped-call]  # Airflow's own


async def _read(hook: SMSPartnerHook) -> Reading:
    try:
        return await hook.aget_account()
    except SMSPartnerError as error:
        return error.with_traceback(None)  # whose frames hold the request, and live as long as the error is passed on


def _pause(reading: Reading, failures: int, interval: float) -> float:
    """Return the seconds to the next poll: after a failure that time may heal sooner than usual, and ever later."""
    if isinstance(reading, Account) or not reading.retryable:
        return interval
    backoff: float = 5.0 * 2 ** min(failures - 1, 10) * random.uniform(0.75, 1.25)  # noqa: S311  # spreads, hides nothing
    return max(min(backoff, interval), min(reading.retry_after or 0, LONGEST_PAUSE))
