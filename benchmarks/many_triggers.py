"""Many triggers on as many accounts in one real triggerer: its event loop, what each costs, and polls on time."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from airflow_provider_smspartner.hooks.smspartner import KEPT_FOR, times_kept_for
from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from benchmarks import peer
from benchmarks.accounts import Account
from benchmarks.measure import Line
from benchmarks.nothing import FileIsThere, LooksUp
from benchmarks.probe import LagProbe
from benchmarks.triggerer import Serialized, Size, Triggerer, run_triggerer, waiting_gate
from tests.system.airflow import Airflow

LOOKS_UP_IN = 10
"""Triggers of which one looks its connection up at each interval: a triggerer takes some 15 a second."""

FULL, QUICK = Size(triggers=2000, interval=60, intervals=3), Size(triggers=5, interval=1, intervals=3)


class Accounts(SMSPartnerSandbox):
    """A sandbox that notes when each of its keys came."""

    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__("10", keys)
        self.arrivals: dict[str | None, list[float]] = defaultdict(list)

    def _receive(self, key: str | None, headers: Message) -> Any:
        self.arrivals[key].append(time.time())
        return super()._receive(key, headers)


@dataclass(frozen=True)
class Cost:
    """What the processes of a triggerer have used so far: seconds of CPU, and bytes of memory."""

    runner_cpu: float
    supervisor_cpu: float
    memory: int

    @classmethod
    def of(cls, triggerer: Triggerer) -> Cost:
        """Look at both processes."""
        runner, supervisor = triggerer.runner.cpu_times(), triggerer.supervisor.cpu_times()
        memory = sum(each.memory_info().rss for each in (triggerer.runner, triggerer.supervisor))
        return cls(runner.user + runner.system, supervisor.user + supervisor.system, memory)


def measure(size: Size) -> list[Line]:
    """Return the lines of a triggerer that holds them all, beside one that holds as many of the peer's."""
    idle, alone = (_watch(Size(triggers, size.interval, 0), _package_gate) for triggers in (0, 1))
    full, peers, still = _watch(size, _package_gate), _watch(size, _peer_gate), _watch(size, _still_gate, polls=False)
    looked_up = _watch(size, _looking_gate, polls=False)
    look_ups = looked_up.seconds / size.interval * len(range(0, size.triggers, LOOKS_UP_IN))
    look_up = max(looked_up.cpu - still.cpu, 0) / look_ups
    memory, cpu = _memory_lines(size, full, peers, idle, alone), _cpu_lines(size, full, peers, still, look_up)
    return [*_lines(size, full), *memory, *cpu]


def _package_gate(accounts: Accounts, key: str, interval: float) -> tuple[str, Serialized]:
    """Return a connection, and a gate on it that never opens."""
    return accounts.connection_json(key), waiting_gate(_conn_id(key), interval)


def _peer_gate(accounts: Accounts, key: str, interval: float) -> tuple[str, Serialized]:
    return Account(accounts.url, key).http_connection(), peer.deferred_gate(key, interval, _conn_id(key))


def _still_gate(accounts: Accounts, key: str, interval: float) -> tuple[str, Serialized]:
    """Return what waits for a file, at which it looks once: Airflow's own part of holding a trigger."""
    return accounts.connection_json(key), FileIsThere(key, poke_interval=3600).serialize()


def _looking_gate(accounts: Accounts, key: str, interval: float) -> tuple[str, Serialized]:
    """Return the same, and for some keys what looks a connection up each interval besides."""
    if int(key.partition("-")[2]) % LOOKS_UP_IN:
        return _still_gate(accounts, key, interval)
    return accounts.connection_json(key), LooksUp(_conn_id(key), poke_interval=interval).serialize()


def _conn_id(key: str) -> str:
    return f"account_{key}"


@dataclass(frozen=True)
class Watched:
    """What was seen from the first interval after all triggers had polled, to the last one."""

    seconds: float
    before: Cost
    after: Cost
    lags: list[float]
    gaps: list[float]
    """Seconds between two polls of the same account."""

    @property
    def polls(self) -> int:
        """How many were seen; 1 where none was, as what a poll costs is divided by it."""
        return max(len(self.gaps), 1)

    @property
    def runner_cpu(self) -> float:
        """Seconds of CPU in the process in which the triggers live."""
        return self.after.runner_cpu - self.before.runner_cpu

    @property
    def supervisor_cpu(self) -> float:
        """Seconds of CPU in the process around it."""
        return self.after.supervisor_cpu - self.before.supervisor_cpu

    @property
    def cpu(self) -> float:
        """Seconds of CPU in both."""
        return self.runner_cpu + self.supervisor_cpu


def _watch(
    size: Size, gate: Callable[[Accounts, str, float], tuple[str, Serialized]], *, polls: bool = True
) -> Watched:
    keys = [f"key-{number}" for number in range(size.triggers)] or ["nobody"]
    with Accounts(keys) as accounts:
        made = {key: gate(accounts, key, size.interval) for key in keys}
        named = {_conn_id(key): connection for key, (connection, _) in made.items()}
        gates = [waiting for _, waiting in made.values()][: size.triggers]
        with _probed(gates, named) as (triggerer, lags_file):
            triggerer.until_taken(size.triggers + 1)
            asked = size.triggers if polls else 0
            Airflow.until(lambda: lags_file.exists() and len(accounts.requests_by_key) >= asked, timeout=600)
            # One whole interval passes first: what all of them need once to start is none of this.
            time.sleep(size.interval if size.intervals else 5)
            begin, before = time.time(), Cost.of(triggerer)
            time.sleep(size.interval * size.intervals)
            end, after = time.time(), Cost.of(triggerer)
            noted = [tuple(map(float, line.split())) for line in lags_file.read_text().splitlines()[:-1]]
        gaps = [
            later - earlier
            for arrivals in accounts.arrivals.values()
            for earlier, later in pairwise([moment for moment in arrivals if moment >= begin - size.interval])
        ]
    return Watched(end - begin, before, after, [lag for moment, lag in noted if begin <= moment <= end], gaps)


@contextmanager
def _probed(triggers: list[Serialized], named: dict[str, str]) -> Iterator[tuple[Triggerer, Path]]:
    """Run a triggerer with a probe among the triggers; yield the file that it writes, too."""
    with TemporaryDirectory() as folder:
        lags = Path(folder) / "lags"
        probe = LagProbe(str(lags), until=time.time() + 3600)
        with run_triggerer([probe.serialize(), *triggers], named) as triggerer:
            yield triggerer, lags


def _lines(size: Size, seen: Watched) -> list[Line]:
    figure = f"{size.triggers:,} triggers on as many accounts, one triggerer, every {size.interval:.0f} s"
    p99 = statistics.quantiles(seen.lags, n=100)[98]
    punctual = sum(abs(gap - size.interval) <= size.interval / 10 for gap in seen.gaps) / seen.polls
    runner, supervisor = seen.runner_cpu / seen.polls, seen.supervisor_cpu / seen.polls
    latest = max((abs(gap - size.interval) for gap in seen.gaps), default=0.0)
    return [
        Line(
            figure,
            "event-loop lag, 99th percentile",
            f"{p99 * 1e3:.1f} ms (median {statistics.median(seen.lags) * 1e3:.1f}, most {max(seen.lags) * 1e3:.0f})",
            "",
            f"{p99 * 1e3:.0f} ms",
            "under 50 ms",
            p99 < 0.05,
        ),
        Line(
            figure,
            "polls within 10 % of their time",
            f"{punctual:.2%} of {len(seen.gaps):,} (the latest by {latest:.1f} s)",
            "",
            f"{punctual:.2%}",
            "all",
            punctual == 1,
        ),
        Line(
            figure,
            "CPU per trigger",
            f"{runner * 1e3:.1f} ms a poll, {supervisor * 1e3:.1f} ms a poll in the supervisor",
            "",
            "",
            "",
            None,
        ),
    ]


def _memory_lines(size: Size, seen: Watched, peers: Watched, idle: Watched, alone: Watched) -> Iterator[Line]:
    """Yield the memory of a gate; the first makes Airflow load its API into the supervisor, which the others share."""
    figure = f"memory per trigger, {size.triggers:,} on as many accounts"
    each, peer_each = ((full.after.memory - idle.after.memory) / size.triggers / 1024 for full in (seen, peers))
    told, other = f"{each:,.0f} KiB", f"peer, on ``HttpEventTrigger``: {peer_each:,.0f} KiB"
    yield Line(figure, "over an idle triggerer", told, other, told, "at most 84 KiB", each <= 84)
    more = (seen.after.memory - alone.after.memory) / max(size.triggers - 1, 1) / 1024
    yield Line(figure, "over a triggerer with one of them", f"{more:,.0f} KiB", "", "", "", None)


def _cpu_lines(size: Size, full: Watched, peers: Watched, still: Watched, look_up: float) -> Iterator[Line]:
    """
    Yield the CPU of a poll, and what is left of it without Airflow's part, which triggers that wait need as well.

    :param look_up: seconds of CPU for one look-up of a connection, of which none fell into the time that was watched
    """
    looking = look_up * size.interval / (statistics.mean(KEPT_FOR) * times_kept_for(size.triggers))
    parts = {
        "": (0.0, 0.0),
        ", with its look-ups of connections": (0.0, looking),
        ", without what triggers that only wait take": (still.cpu, 0.0),
    }
    for told, (floor, more) in parts.items():
        package, peer_s = (max(seen.cpu - floor, 0) / seen.polls for seen in (full, peers))
        ratio = (package + more) / (peer_s or 1)
        yield Line(
            f"CPU per poll in a triggerer{told}",
            f"{size.triggers:,} accounts, every {size.interval:.0f} s, the same answers",
            f"{(package + more) * 1e3:.2f} ms" + (f", as a look-up takes {look_up * 1e3:.0f} ms" if more else ""),
            f"peer, on ``HttpEventTrigger``{', which looks up once' if more else ''}: {peer_s * 1e3:.2f} ms",
            f"{ratio:.2f}",
            "at most 0.5",
            ratio <= 0.5,
        )
