"""Gates that wait and snapshots that are written while one part after the other is killed: one story, in this order."""

from __future__ import annotations

import signal
import socket
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
    from tests.system.airflow import Airflow, DagRun
    from tests.system.kills.conftest import Database, Warehouse

Figures = dict[str, object]

GATES, INTERVAL = 20, 5
"""How many wait on one connection, and the seconds from one poll to the next."""

RETRIES = 2
"""Of one poll that is cut off."""

API_AWAY, DATABASE_AWAY = 60, 20
"""Seconds."""

WRITES = "LOCK TABLE smspartner_credit_snapshots IN EXCLUSIVE MODE"
"""Held, it lets everybody read, and nobody write."""

WORD_TO_AIRFLOW = "SELECT pg_advisory_xact_lock(1)"
"""Held, it stops a task that has committed before it can say so; see the DAG."""

LETTERS = "S3cr3t"
"""What every key begins with, and no spelling of a key in a URL or in JSON changes."""


def started(airflow: Airflow, warehouse: Warehouse, how_many: int) -> list[DagRun]:
    """Start snapshots while nobody can write, and return when each has read the accounts and waits for that."""
    runs = [airflow.trigger("snapshots") for _ in range(how_many)]
    airflow.until(lambda: warehouse.waiting("INSERT") == how_many, timeout=120)
    return runs


def process_of(run: DagRun) -> psutil.Process:
    (task,) = run.tasks()
    return psutil.Process(task["pid"])


def tries(*runs: DagRun) -> list[int]:
    return [task["try_number"] for run in runs for task in run.tasks()]


def told_to_airflow(run: DagRun) -> list[tuple[object, ...]]:
    """Return the rows as the task's XCom has them."""
    rows = run.xcom(-1, "snapshot")
    return [
        (run.run_id, row["smspartner_conn_id"], row["credit_sms"], datetime.fromisoformat(row["captured_at"]))
        for row in rows
    ]


@pytest.fixture(scope="module")
def gates(airflow: Airflow, figures: Figures) -> DagRun:
    """Start the gates, and return when each waits in the triggerer."""
    gates = airflow.trigger("gates")
    gates.wait_for(GATES, "deferred")
    figures["gates on one connection"] = GATES
    return gates


def test_a_snapshot_that_nothing_happens_to_writes_a_row_an_account(airflow: Airflow, warehouse: Warehouse) -> None:
    run = airflow.trigger("snapshots")
    run.wait_for(1, "success")
    assert warehouse.sms(run) == {100}


def test_a_killed_triggerer_loses_no_gate(
    airflow: Airflow, gates: DagRun, account: SMSPartnerSandbox, figures: Figures
) -> None:
    began = time.monotonic()
    airflow.stop_triggerer(signal.SIGKILL)
    killed, asked = time.time(), account.requests
    airflow.start_triggerer()
    account.wait_for_requests(asked + 1, timeout=120)
    figures["s from SIGKILL to the triggerer until the next poll"] = round(time.monotonic() - began)
    airflow.until(lambda: gates.told_a_reading_since(killed) == GATES)
    assert gates.states()["deferred"] == GATES


def test_a_task_that_outlives_its_killed_scheduler_and_is_run_again_writes_one_row(
    airflow: Airflow, gates: DagRun, warehouse: Warehouse, figures: Figures
) -> None:
    with warehouse.held(WRITES):
        (run,) = started(airflow, warehouse, 1)
        orphan, began = process_of(run), time.monotonic()
        airflow.signal_component("scheduler", signal.SIGKILL)
        airflow.start_component("second-scheduler", "scheduler", "--skip-serve-logs")
        # The next attempt waits beside the first, of which Airflow ends the process, and PostgreSQL does not know yet.
        airflow.until(lambda: warehouse.waiting("INSERT") == 2, timeout=120)
        figures["s from SIGKILL to the scheduler until its task runs again"] = round(time.monotonic() - began)
        airflow.until(lambda: not orphan.is_running())
    run.wait_for(1, "success")
    assert warehouse.sms(run) == {100}
    assert gates.states()["deferred"] == GATES
    # Its idle workers would stay for good.
    airflow.lose_component("scheduler")


def test_an_api_that_is_away_for_a_minute_fails_no_gate_and_meets_no_storm(
    airflow: Airflow, gates: DagRun, account: SMSPartnerSandbox, figures: Figures
) -> None:
    before = account.requests
    account.fail_next(times=None, drop=True)
    time.sleep(API_AWAY)
    account.recover()
    asked, back = account.requests, time.time()
    figures[f"requests of {GATES} gates in {API_AWAY} s in which each is cut off"] = asked - before
    assert 0 < asked - before <= (1 + RETRIES) * (API_AWAY / INTERVAL + 1)
    account.wait_for_requests(asked + 1, timeout=60)
    figures["s from its return until the next poll"] = round(time.time() - back)
    account.wait_for_requests(asked + 3, timeout=60)
    seconds = time.time() - back
    assert account.requests - asked <= seconds / INTERVAL + 1
    airflow.until(lambda: gates.told_a_reading_since(back) == GATES)
    assert gates.states()["deferred"] == GATES


def test_attempts_that_are_killed_between_the_read_and_the_commit_leave_nothing_and_the_next_ones_a_row(
    airflow: Airflow, warehouse: Warehouse, account: SMSPartnerSandbox, figures: Figures
) -> None:
    with warehouse.held(WRITES):
        runs = started(airflow, warehouse, 3)
        tasks = [process_of(run) for run in runs]
        workers = [task.parent() for task in tasks]
        account.spend(1)
        # The task itself; with its worker; the worker alone, whose task goes on and tells nobody.
        for process in (tasks[0], workers[1], tasks[1], workers[2]):
            process.kill()
        began = time.monotonic()
    airflow.until(lambda: warehouse.sms(runs[2]) == {100} and not warehouse.waiting("INSERT"), pause=0.1)
    assert warehouse.rows(runs[1]) == {}
    for run in runs:
        run.wait_for(1, "success")
        figures.setdefault("s from SIGKILL to the task until its next attempt is done", round(time.monotonic() - began))
    figures["s from SIGKILL to the worker until the task's next attempt is done"] = round(time.monotonic() - began)
    assert [warehouse.sms(run) for run in runs] == [{99}] * 3
    figures["tries of three tasks killed before their commit"] = ", ".join(map(str, tries(*runs)))


def test_an_attempt_that_is_killed_after_its_commit_has_its_row_replaced_by_the_next_one(
    airflow: Airflow, warehouse: Warehouse, account: SMSPartnerSandbox, figures: Figures
) -> None:
    with warehouse.held(WORD_TO_AIRFLOW):
        run = airflow.trigger("snapshots")
        airflow.until(lambda: warehouse.waiting("SELECT pg_advisory_xact_lock_shared"))
        committed = warehouse.rows(run)
        account.spend(1)
        process_of(run).kill()
    run.wait_for(1, "success")
    assert {row["credit_sms"] for row in committed.values()} == {99}
    assert warehouse.sms(run) == {98}
    assert warehouse.ids(run) == {row["snapshot_id"] for row in committed.values()}
    figures["tries of one killed after it"] = tries(run)[0]


def test_a_warehouse_that_is_away_while_it_is_written_to_has_one_row_an_account_in_the_end(
    airflow: Airflow, warehouse: Warehouse, figures: Figures
) -> None:
    with warehouse.held(WRITES):
        runs = started(airflow, warehouse, 2)
        warehouse.stop()
    time.sleep(DATABASE_AWAY)
    warehouse.start()
    for run in runs:
        run.wait_for(1, "success")
        assert warehouse.sms(run) == {98}
        # It may wait, or fail and be run again; but not without a word on what is away.
        failures = [entry for entry in run.log(-1, "snapshot") if entry["event"] == "Task failed with exception"]
        told = [failure["error_detail"][0]["exc_value"] for failure in failures]
        assert all("table 'smspartner_credit_snapshots': the database did not answer" in each for each in told), told
    figures[f"tries of two tasks whose warehouse was away for {DATABASE_AWAY} s"] = ", ".join(map(str, tries(*runs)))


def test_airflows_own_database_may_be_away_while_gates_wait_and_snapshots_are_written(
    airflow: Airflow,
    gates: DagRun,
    account: SMSPartnerSandbox,
    metadata: Database,
    warehouse: Warehouse,
    figures: Figures,
) -> None:
    restarted: list[str] = []

    def kept_up(condition: Callable[[], object]) -> None:
        def is_met() -> object:
            restarted.extend(airflow.restart_ended())
            return condition()

        airflow.until(is_met, timeout=240)

    with warehouse.held(WRITES):
        runs = started(airflow, warehouse, 2)
        metadata.stop()
        time.sleep(DATABASE_AWAY)
        metadata.start()
        back, asked = time.time(), account.requests
    kept_up(lambda: account.requests > asked)
    figures[f"s from the return of its database after {DATABASE_AWAY} s to the next poll"] = round(time.time() - back)
    # A run from now on needs a scheduler that has not given up.
    runs.append(airflow.trigger("snapshots"))
    kept_up(lambda: sum((run.states() for run in runs), Counter())["success"] == len(runs))
    figures["parts of Airflow that gave up meanwhile, and were started again"] = ", ".join(restarted)
    assert [warehouse.sms(run) for run in runs] == [{98}] * 3
    assert gates.states()["deferred"] == GATES


def test_every_gate_opens_once_though_the_triggerer_is_killed_while_it_opens_them(
    airflow: Airflow, gates: DagRun, account: SMSPartnerSandbox, figures: Figures
) -> None:
    waiting = "SELECT count(*) FROM task_instance WHERE state = 'deferred'"
    account.top_up(5000)
    began = time.monotonic()
    airflow.until(lambda: airflow.query(waiting) < [(GATES,)], pause=0.005)
    airflow.stop_triggerer(signal.SIGKILL)
    ((left,),) = airflow.query(waiting)
    figures["gates that were still closed when the triggerer was killed on opening them"] = left
    airflow.start_triggerer()
    gates.wait_for(GATES, "success")
    figures["s from the top-up until every gate is open"] = round(time.monotonic() - began)
    opened = [[entry["event"] for entry in gates.log(gate)] for gate in range(GATES)]
    times = [sum("enough credit since" in event for event in events) for events in opened]
    figures["gates lost, opened twice"] = f"{times.count(0)}, {GATES - times.count(0) - times.count(1)}"
    assert times == [1] * GATES
    assert set(tries(gates)) == {1}


def test_nothing_is_lost_and_nothing_is_doubled(airflow: Airflow, warehouse: Warehouse, figures: Figures) -> None:
    runs = airflow.runs("snapshots")
    told = {row for run in runs for row in told_to_airflow(run)}
    rows = warehouse.query(
        "SELECT run_id, smspartner_conn_id, credit_sms, captured_at FROM smspartner_credit_snapshots"
    )
    figures["snapshots of two accounts, and their rows"] = f"{len(runs)}, {len(rows)}"
    figures["rows lost, doubled"] = f"{len(told - set(rows))}, {len(rows) - len(set(rows))}"
    assert sorted(rows) == sorted(told)
    assert len(rows) == 2 * len(runs)
    ((given_up,),) = airflow.query("SELECT count(*) FROM task_instance_history WHERE dag_id = 'snapshots'")
    figures["attempts of theirs that were killed or failed"] = given_up
    assert airflow.query("SELECT DISTINCT state FROM task_instance") == [("success",)]
    # Airflow does the rest a moment after the last task.
    airflow.until(lambda: airflow.query("SELECT DISTINCT state FROM dag_run") == [("success",)])
    airflow.until(lambda: airflow.query("SELECT count(*) FROM trigger") == [(0,)])


def test_no_log_and_no_table_holds_a_key_in_any_spelling(airflow: Airflow, figures: Figures) -> None:
    texts = {str(path): path.read_bytes() for path in airflow.home.rglob("*") if path.is_file()}
    assert any(b"apiKey=***" in text for text in texts.values()), "nobody had a key to hide"
    assert [path for path, text in texts.items() if LETTERS.encode() in text] == []
    assert [name for name in airflow.tables() if LETTERS in repr(airflow.query(f'SELECT * FROM "{name}"'))] == []
    figures["files and tables searched for the keys"] = f"{len(texts)}, {len(airflow.tables())}"


def test_nothing_is_left_running_or_listening(airflow: Airflow) -> None:
    assert airflow.stop() == []
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", airflow.port)) != 0
