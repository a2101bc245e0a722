"""The readings of an account that triggers share: one poll, however many wait on it."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncGenerator, Hashable

from airflow_provider_smspartner.account import Account
from airflow_provider_smspartner.exceptions import SMSPartnerError
from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook, hooks_here

Reading = Account | SMSPartnerError
"""What a poll yields. Errors travel as values: raised in a shared stream, one would fail every gate on it."""

SHORTEST_INTERVAL = 1.0
"""Seconds between two polls, whatever a DAG author writes: a shared account is not to be hammered."""

TICK = 0.25
"""
Seconds between the moments at which accounts that share an event loop are asked; less where an interval is short.

A triggerer wakes up for several of them at once, which takes it less of the processor than for each by itself.
"""

LONGEST_PAUSE = 900.0
"""Seconds that a server's ``Retry-After`` can hold up the next poll."""


def stream_key(smspartner_conn_id: str, poke_interval: float) -> Hashable:
    """Return what the triggers that share one poll have in common."""
    return ("smspartner-credits", smspartner_conn_id, poke_interval)


async def poll(smspartner_conn_id: str, poke_interval: float) -> AsyncGenerator[Reading, None]:
    """Poll an account as long as anybody listens, and yield each reading; never raise an error of the poll's."""
    hook, pace = SMSPartnerHook(smspartner_conn_id), Pace(poke_interval)
    try:
        while True:
            reading = await _read(hook)
            yield reading
            await pace.pause(reading)
    finally:
        await hook.aclose()


class Pace:
    """
    How fast one poll goes.

    :param poke_interval: seconds from one reading to the next
    """

    def __init__(self, poke_interval: float) -> None:
        self.interval = max(poke_interval, SHORTEST_INTERVAL)
        self._failures = 0

    async def pause(self, reading: Reading) -> None:
        """Sleep as ``pause_after`` says, and on to the next tick where this event loop asks other accounts too."""
        self._failures = self._failures + 1 if isinstance(reading, SMSPartnerError) else 0
        seconds = pause_after(reading, self._failures, self.interval)
        if hooks_here() > 1:
            tick, now = min(TICK, self.interval / 20), asyncio.get_running_loop().time()
            seconds = math.ceil((now + seconds) / tick) * tick - now
        await asyncio.sleep(seconds)


def pause_after(reading: Reading, failures: int, interval: float) -> float:
    """
    Return the seconds to the next poll: sooner than usual after a transient error, and ever later if it lasts.

    :param failures: how many readings in a row have failed, this one included
    """
    if isinstance(reading, Account) or not reading.retryable:
        return interval
    # The exponent has a cap, as a day of failures would make a number that no float holds.
    backoff: float = 5.0 * 2 ** min(failures - 1, 10) * random.uniform(0.75, 1.25)  # noqa: S311  # spreads, hides nothing
    return max(min(backoff, interval), min(reading.retry_after or 0, LONGEST_PAUSE))


async def _read(hook: SMSPartnerHook) -> Reading:
    try:
        return await hook.aget_account()
    except SMSPartnerError as error:
        return error.with_traceback(None)  # whose frames hold the request, and live as long as the error is passed on
    except Exception as exc:  # noqa: BLE001  # a fault of ours must not end the wait of every gate on the account
        return unforeseen(exc)


def unforeseen(exc: Exception) -> SMSPartnerError:
    """Return the error for a fault of ours, by its class alone: what its text or its frames hold, nobody knows."""
    name = type(exc).__name__
    return SMSPartnerError(f"reading the account failed with {name}; it may pass by itself, else tell us of it")
