"""Many gates that wait on one account, in one real triggerer: how often the account is asked."""

from __future__ import annotations

import time

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from benchmarks import peer
from benchmarks.accounts import Account
from benchmarks.measure import Line
from benchmarks.triggerer import Size, run_triggerer, waiting_gate
from tests.system.airflow import Airflow

FULL, QUICK = Size(triggers=1000, interval=30, intervals=4), Size(triggers=5, interval=1, intervals=3)


def measure(size: Size) -> list[Line]:
    """Return the requests per interval of our gates, and of the peer's in the same triggerer."""
    with SMSPartnerSandbox("10") as package, SMSPartnerSandbox("10") as other:
        named = {
            "package": package.connection_json(),
            peer.CONN_ID: Account(other.url, "sandbox-key").http_connection(),
        }
        gates = [waiting_gate("package", size.interval), peer.deferred_gate("sandbox-key", size.interval)]
        with run_triggerer([gate for gate in gates for _ in range(size.triggers)], named):
            # The peer's are the last to be started, and each asks at once.
            Airflow.until(lambda: other.requests >= size.triggers and package.requests, timeout=300)
            before, begin = (package.requests, other.requests), time.monotonic()
            time.sleep(size.interval * size.intervals)
            seconds = time.monotonic() - begin
            counted = package.requests - before[0], other.requests - before[1]
    mine, theirs = (number * size.interval / seconds for number in counted)
    return [
        Line(
            f"requests per interval of {size.triggers:,} gates on one account",
            f"one triggerer, {size.intervals} intervals of {size.interval:.0f} s",
            f"{mine:.2f}",
            f"peer, on ``HttpEventTrigger``: {theirs:,.0f}",
            f"{mine / max(theirs, 1e-9):.4f}",
            "1",
            round(mine) == 1,
        )
    ]
