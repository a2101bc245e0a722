"""Many accounts in one task, at an API that takes its time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

import requests

from airflow_provider_smspartner.operators.credits import CreditsToSqlOperator
from benchmarks.accounts import Account, connections, serve, sqlite_connection
from benchmarks.measure import Line, interleave, ratio_line
from benchmarks.task import task_context


@dataclass(frozen=True)
class Size:
    """How many accounts are read, how many at a time, and how often all that."""

    accounts: int
    concurrency: int
    rounds: int
    delay: float = 0.1


FULL, QUICK = Size(accounts=200, concurrency=16, rounds=9), Size(accounts=8, concurrency=4, rounds=1)


def measure(size: Size) -> list[Line]:
    """Return the whole task, with its 200 rows in a SQLite file, compared with the time that the API alone takes."""
    keys = [f"key-{number}" for number in range(size.accounts)]
    with serve(*keys, delay=size.delay) as accounts, TemporaryDirectory() as folder:
        named = {f"account_{number}": account.connection() for number, account in enumerate(accounts)}
        with connections(named | {"warehouse": sqlite_connection(folder)}):
            sides = {"package": lambda: _run_task(list(named), size), "bare": lambda: _ask_barely(accounts, size)}
            took = interleave(sides, size.rounds)
    package = took["package"]
    least = size.accounts * size.delay / size.concurrency
    figure = f"{size.accounts} accounts in one task, {size.concurrency} at a time, answers in {size.delay * 1e3:.0f} ms"
    return [
        Line(
            figure,
            f"{size.accounts} x {size.delay} s / {size.concurrency}",
            package.told("s"),
            f"computed: {least:.2f} s",
            f"{package.median / least:.2f}",
            "at most 1.15",
            package.median / least <= 1.15,
        ),
        ratio_line(figure, "bare requests in as many threads", package, ("baseline", took["bare"]), None, unit="s"),
    ]


def _run_task(conn_ids: list[str], size: Size) -> None:
    """Execute the operator, made anew as in a task of its own."""
    operator = CreditsToSqlOperator(
        task_id="snapshots", sql_conn_id="warehouse", smspartner_conn_id=conn_ids, max_concurrency=size.concurrency
    )
    assert len(operator.execute(task_context())) == size.accounts


def _ask_barely(accounts: list[Account], size: Size) -> None:
    def ask(account: Account) -> Any:
        return requests.get(f"{account.url}/me", params={"apiKey": account.key}, timeout=10).json()

    with ThreadPoolExecutor(size.concurrency) as readers:
        assert all(answer["success"] for answer in readers.map(ask, accounts))
