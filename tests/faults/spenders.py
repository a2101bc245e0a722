"""Processes that reserve from one account and really spend from it, some of which are killed in the middle."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from http.client import HTTPConnection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from urllib.parse import urlsplit

from airflow_provider_smspartner.account import CreditRequirement
from airflow_provider_smspartner.hooks.reservations import CreditReservationsHook
from airflow_provider_smspartner.sandbox import SMSPartnerSandbox

CHUNK = 10
HOLD_FOR = timedelta(seconds=6)
"""Longer than a process stands still on a busy machine, shorter than the test."""

FORK = multiprocessing.get_context("fork")


@dataclass
class Spenders:
    """
    So many processes at a time, of which one is killed now and then.

    :param sandbox: whose account has a price of 1, so that amounts are counts
    """

    sandbox: SMSPartnerSandbox
    processes: int
    outcomes: Counter[str] = field(default_factory=Counter)
    _running: list[tuple[BaseProcess, Connection]] = field(default_factory=list)
    _started: int = 0

    def run(self, *, finished: int, killed: int, at_most: float) -> Counter[str]:
        """
        Run them until so many campaigns have finished, and top the account up meanwhile.

        :param killed: processes that are killed until then, one after the other
        :param at_most: seconds
        :return: what became of all campaigns
        """
        gives_up_at = time.monotonic() + at_most
        while self.outcomes["finished"] < finished and time.monotonic() < gives_up_at:
            while len(self._running) < self.processes:
                self._start()
            self._hear(0.05)
            if self.outcomes["killed"] * finished < self.outcomes["finished"] * killed:
                self._kill(random.choice(self._running))
            if self.sandbox.balance < 200:
                self.sandbox.top_up(60)
        for process, _ in self._running:
            process.kill()
            process.join()
        self._hear(0)
        return self.outcomes

    def _start(self) -> None:
        here, there = FORK.Pipe(duplex=False)
        self._started += 1
        process = FORK.Process(target=_spend, args=(self.sandbox.url, f"spender-{self._started}", there), daemon=True)
        process.start()
        there.close()
        self._running.append((process, here))

    def _hear(self, patience: float) -> None:
        for running in list(self._running):
            process, here = running
            with suppress(EOFError):
                while here.poll(patience / self.processes):
                    self.outcomes[here.recv()] += 1
                continue
            process.join()
            self._running.remove(running)

    def _kill(self, running: tuple[BaseProcess, Connection]) -> None:
        pid = running[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        self.outcomes["killed"] += 1


def _spend(url: str, name: str, tell: Connection) -> None:
    random.seed(name)
    hook = CreditReservationsHook("ledger")
    for number in range(10_000):
        try:
            tell.send(_campaign(hook, url, f"{name}-{number}"))
        except Exception as error:  # noqa: BLE001  # the parent asserts that there was none
            tell.send(f"{type(error).__name__}: {error}")


def _campaign(hook: CreditReservationsHook, url: str, holder: str) -> str:
    """Reserve, then check, send and deduct chunk by chunk, as the documentation says; return how it ended."""
    chunks = random.randint(1, 5)
    requirement = CreditRequirement(chunks * CHUNK)
    reservation = hook.reserve(
        "smspartner_default", requirement, holder=holder, hold_for=HOLD_FOR, settles_after=timedelta(0)
    )
    if reservation is None:
        return "not yet"
    for number in range(chunks):
        if not hook.still_holds(reservation):
            return "expired"
        if not _sent(url):
            return "ended short"
        hook.deduct(reservation, CHUNK, key=str(number))
    hook.release(reservation)
    return "finished"


def _sent(url: str) -> bool:
    """Spend what a chunk costs; return False where the account holds less."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=20)
    try:
        connection.request("POST", f"/sandbox/spend?amount={CHUNK}")
        response = connection.getresponse()
        response.read()
        return response.status == 200
    finally:
        connection.close()
