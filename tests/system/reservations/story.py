"""Forty campaigns on credit for ten at a time, whatever Airflow runs them: what is started, and how it is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
    from tests.system.airflow import Airflow

BALANCE, TOP_UP = 5000, 1000
"""SMS: some ten campaigns, and two."""

CAMPAIGNS = [("poke", 4), ("reschedule", 12), ("deferrable", 24)]
"""How many wait in which way: each that pokes keeps a slot."""


@dataclass
class Story:
    """
    Campaigns of 300 to 700 SMS each, at a price of 1.

    :param kind: of the DAGs: ``reserving`` or ``gated``
    """

    airflow: Airflow
    account: SMSPartnerSandbox
    kind: str
    topped_up: int = 0

    def start(self) -> int:
        """Start all campaigns; return how many SMS they take."""
        ways = [way for way, how_many in CAMPAIGNS for _ in range(how_many)]
        # All ways come by turns, and each size as often as another.
        ways = [ways[(7 * number) % len(ways)] for number in range(len(ways))]
        sizes = [300 + 100 * (number % 5) for number in range(len(ways))]
        for way, sms in zip(ways, sizes, strict=True):
            self.airflow.ask("POST", f"/dags/{self.kind}_{way}/dagRuns", {"logical_date": None, "conf": {"sms": sms}})
        return sum(sizes)

    def runs(self) -> Counter[str]:
        """Return how many runs are in which state."""
        counted = f"SELECT state, count(*) FROM dag_run WHERE dag_id LIKE '{self.kind}%' GROUP BY state"
        return Counter({str(state): int(count) for state, count in self.airflow.query(counted)})

    def end(self, *, at_most: float, halfway: Callable[[], None] = lambda: None) -> Counter[str]:
        """
        Top the account up whenever it can pay for nobody, until all runs have ended; return their states.

        :param halfway: what is done once, when half of them have ended
        """
        everybody, is_second_half = sum(how_many for _, how_many in CAMPAIGNS), False

        def are_ended() -> bool:
            nonlocal is_second_half
            if self.account.balance < TOP_UP:
                self.account.top_up(TOP_UP)
                self.topped_up += TOP_UP
            runs = self.runs()
            ended = runs["success"] + runs["failed"]
            if not is_second_half and 2 * ended >= everybody:
                is_second_half = True
                halfway()
            return ended == everybody

        self.airflow.until(are_ended, timeout=at_most, pause=2)
        return self.runs()

    def failed(self, task_id: str) -> int:
        """Return in how many runs a task has failed."""
        failed = f"SELECT count(*) FROM task_instance WHERE dag_id LIKE '{self.kind}%' AND task_id = '{task_id}'"
        ((count,),) = self.airflow.query(f"{failed} AND state = 'failed'")
        return int(count)
