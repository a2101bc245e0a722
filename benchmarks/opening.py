"""One gate on a whole Airflow: how soon it opens after a top-up, and how long it holds a worker while it waits."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from benchmarks import peer
from benchmarks.accounts import Account
from benchmarks.measure import Line, Spread
from benchmarks.whole import run_airflow

if TYPE_CHECKING:
    from tests.system.airflow import Airflow

KINDS = ("package_deferrable", "package_reschedule", "peer_reschedule", "peer_poke")
AN_HOUR_OF_POKES = 60
"""At an interval of a minute."""


@dataclass(frozen=True)
class Size:
    """How often each gate waits and opens, and how often it polls meanwhile."""

    rounds: int
    interval: float


FULL, QUICK = Size(rounds=3, interval=15), Size(rounds=1, interval=2)


def measure(size: Size) -> list[Line]:
    """Return the lines of both, out of the same runs."""
    with TemporaryDirectory() as home, SMSPartnerSandbox("10") as account:
        named = {
            "package": account.connection_json(),
            peer.CONN_ID: Account(account.url, "sandbox-key").http_connection(),
        }
        opened: dict[str, list[float]] = defaultdict(list)
        pokes: dict[str, list[float]] = defaultdict(list)
        with run_airflow(home, named, size.interval) as airflow:
            for turn in range(size.rounds):
                # In a round all are topped up as long after a poll: else chance would decide who opens sooner.
                pause = size.interval * (turn + random.random()) / size.rounds
                for kind in random.sample(KINDS, len(KINDS)):
                    opened[kind].append(_seconds_to_open(airflow, account, kind, pause, pokes[kind]))
    return [*_opening_lines(size, opened), *_worker_lines(pokes)]


def _seconds_to_open(
    airflow: Airflow, account: SMSPartnerSandbox, kind: str, pause: float, pokes: list[float]
) -> float:
    """Start a gate, let it wait, top the account up some seconds after a poll, and see when its task ends."""
    asked = account.requests
    run = airflow.trigger(kind)
    account.wait_for_requests(asked + 2, timeout=300)
    if kind == "package_deferrable":
        pokes += _seconds_to_defer(airflow)
    time.sleep(pause)
    topped_up = time.time()
    account.top_up("10000")
    run.wait_for(1, "success")
    account.spend("10000")
    (task,) = run.tasks()
    began, ended = (datetime.fromisoformat(task[name]).timestamp() for name in ("start_date", "end_date"))
    if kind.endswith("reschedule"):
        pokes.append(ended - began)  # of the last one, for which a worker has started it anew
    return ended - topped_up


def _seconds_to_defer(airflow: Airflow) -> list[float]:
    """Return how long a worker was held by the gate that is deferred now."""
    sql = (
        "SELECT ti.start_date, waits.created_date FROM task_instance ti JOIN trigger waits ON waits.id = ti.trigger_id"
    )
    moments = [[datetime.fromisoformat(str(moment)) for moment in row] for row in airflow.query(sql)]
    return [(deferred - started).total_seconds() for started, deferred in moments]


def _opening_lines(size: Size, opened: dict[str, list[float]]) -> list[Line]:
    longest = max(opened["package_deferrable"])
    goal = size.interval + 3
    figure = f"from top-up to gate open, interval {size.interval:.0f} s"
    told = {kind: f"{Spread.of(seconds).told('s')}, at most {max(seconds):.1f} s" for kind, seconds in opened.items()}
    return [
        Line(
            figure,
            f"deferrable, {size.rounds} times",
            told["package_deferrable"],
            f"peer, {mode}: {told[f'peer_{mode}']}",
            f"{Spread.of(opened['package_deferrable']).median / Spread.of(opened[f'peer_{mode}']).median:.2f}",
            f"at most {goal:.0f} s" if mode == "reschedule" else "",
            longest <= goal if mode == "reschedule" else None,
        )
        for mode in ("reschedule", "poke")
    ]


def _worker_lines(pokes: dict[str, list[float]]) -> list[Line]:
    figure = "worker seconds while a gate waits an hour, interval 60 s (computed)"
    one = {kind: Spread.of(seconds).median for kind, seconds in pokes.items() if seconds}
    once, package, other = (one[kind] for kind in ("package_deferrable", "package_reschedule", "peer_reschedule"))
    mine = {"poke": 3600.0, "reschedule": AN_HOUR_OF_POKES * package, "deferrable": once}
    peers = {"poke": 3600.0, "reschedule": AN_HOUR_OF_POKES * other, "deferrable": 3600.0}
    cases = {
        "reschedule": f"reschedule: {AN_HOUR_OF_POKES} pokes, this package's of {package:.2f} s, "
        f"the peer's of {other:.2f} s",
        "deferrable": "deferrable: one poke (the peer never defers)",
    }
    return [
        Line(
            figure,
            cases.get(mode, mode),
            f"{mine[mode]:,.1f} s",
            f"peer: {peers[mode]:,.1f} s",
            f"{mine[mode] / peers[mode]:.4f}",
            "one poke" if mode == "deferrable" else "",
            once <= 1.5 * package if mode == "deferrable" else None,
        )
        for mode in mine
    ]
