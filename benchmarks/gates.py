"""Many gates that wait on one account, in one real triggerer: how often the account is asked."""

from __future__ import annotations

import time
from dataclasses import dataclass

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from airflow_provider_smspartner.triggers.credits import CreditsTrigger
from benchmarks import rival
from benchmarks.accounts import Account
from benchmarks.measure import Line
from benchmarks.triggerer import run_triggerer, until

NEVER = 10**9


@dataclass(frozen=True)
class Size:
    """How many gates wait on each side, how often they poll, and over how many polls the requests are counted."""

    gates: int
    interval: float
    intervals: int


FULL, QUICK = Size(gates=1000, interval=30, intervals=4), Size(gates=5, interval=1, intervals=3)


def measure(size: Size) -> list[Line]:
    """Return the requests per interval of our gates, and of the rival's in the same triggerer."""
    with SMSPartnerSandbox("10") as ours, SMSPartnerSandbox("10") as other:
        named = {"ours": ours.connection_json(), rival.CONN_ID: Account(other.url, "sandbox-key").http_connection()}
        gate = CreditsTrigger(min_credits=NEVER, smspartner_conn_id="ours", poke_interval=size.interval, once=True)
        triggers = [gate.serialize(), rival.deferred_gate("sandbox-key", size.interval)]
        with run_triggerer([each for each in triggers for _ in range(size.gates)], named):
            # The rival's are the last to be started, and each asks at once.
            until(lambda: other.requests >= size.gates and ours.requests, timeout=300)
            before, begin = (ours.requests, other.requests), time.monotonic()
            time.sleep(size.interval * size.intervals)
            seconds = time.monotonic() - begin
            counted = ours.requests - before[0], other.requests - before[1]
    mine, theirs = (number * size.interval / seconds for number in counted)
    return [
        Line(
            f"requests per interval of {size.gates:,} gates on one account",
            f"one triggerer, {size.intervals} intervals of {size.interval:.0f} s",
            f"{mine:.2f}",
            f"rival, on ``HttpEventTrigger``: {theirs:,.0f}",
            f"{mine / max(theirs, 1e-9):.4f}",
            "1",
            round(mine) == 1,
        )
    ]
