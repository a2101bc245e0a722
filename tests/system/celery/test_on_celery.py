"""The gates and snapshots of one machine on two Celery workers, of which one is killed: one story, in this order."""

from __future__ import annotations

import re
import signal
import socket
import time
from base64 import b64decode
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from tests.spellings import leaks
from tests.system.waiting_gates import (
    GATES,
    INTERVAL,
    OBSERVED_INTERVALS,
    hold_to_failing_at_once_on_a_bad_key,
    hold_to_one_request_an_interval,
)

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
    from tests.listeners import StatsD
    from tests.system.airflow import Airflow, DagRun
    from tests.system.celery.conftest import Servers

Accounts = dict[str, "SMSPartnerSandbox"]
Figures = dict[str, object]

PARALLELISM = 8
"""Tasks that Airflow hands to the queue and to the workers at the same time."""

FILES = {
    "api-server.log": "/connections",
    "dag-processor.log": "on_workers.py",
    "scheduler.log": "gates_on_campaigns",
    "triggerer.log": "currently running",
    "worker-1.log": "execute_workload",
    "worker-2.log": "execute_workload",
    "worker-3.log": "execute_workload",
    "redis.log": "execute_workload",
    "logs/**/attempt=*.log": "apiKey=***",
    "logs/**/*.log.trigger.*.log": "sms available",
}
"""What is logged: by file, something that belongs there."""

TABLES = {
    "celery_taskmeta": "SUCCESS",
    "connection": "revoked",
    "rendered_task_instance_fields": "1007",
    "smspartner_credit_snapshots": "smspartner_paris",
    "task_instance": "worker-3",
    "xcom": "fetched_at",
}
"""What is stored: by table, something that belongs there."""


class Workers:
    """Celery workers by name, each as if on a machine of its own."""

    def __init__(self, airflow: Airflow) -> None:
        self._airflow = airflow

    def start(self, *names: str) -> None:
        for name in names:
            self._airflow.start_component(name, "celery", "worker", f"--celery-hostname={name}", "--skip-serve-logs")
        logs = [self._airflow.home / f"{name}.log" for name in names]
        self._airflow.until(lambda: all(" ready." in log.read_text() for log in logs), timeout=120)


def tasks_of(run: DagRun, *task_ids: str) -> list[dict[str, Any]]:
    return [task for task in run.tasks() if task["task_id"] in task_ids]


def states_of(run: DagRun, *task_ids: str) -> Counter[str | None]:
    return Counter(task["state"] for task in tasks_of(run, *task_ids))


def hosts_of(tasks: list[dict[str, Any]]) -> Counter[str]:
    return Counter(task["hostname"] for task in tasks)


def rows_of(servers: Servers, run: DagRun) -> list[sa.RowMapping]:
    """Return what a run has written into the warehouse, whoever has written it."""
    engine = sa.create_engine(servers.warehouse)
    try:
        if not sa.inspect(engine).has_table("smspartner_credit_snapshots"):
            return []
        query = "SELECT * FROM smspartner_credit_snapshots WHERE run_id = :run_id ORDER BY smspartner_conn_id, task_id"
        with engine.connect() as connection:
            return list(connection.execute(sa.text(query), {"run_id": run.run_id}).mappings())
    finally:
        engine.dispose()


def bodies_in(text: str) -> list[str]:
    """Return what Celery packs into its messages, unpacked."""
    return [b64decode(body).decode() for body in re.findall(r"body\W+([A-Za-z0-9+/=]{20,})", text)]


def rows_by_table(database: URL) -> dict[str, str]:
    """Return all that a database holds, as text by table; what is binary as hexadecimal digits."""
    engine = sa.create_engine(database)
    with engine.connect() as connection:
        tables = sa.inspect(connection).get_table_names()
        rows = {name: connection.scalars(sa.text(f'SELECT t::text FROM "{name}" t')).all() for name in tables}
    engine.dispose()
    return {name: "\n".join(found) for name, found in rows.items()}


@pytest.fixture(scope="module")
def waiting(airflow: Airflow, accounts: Accounts, keys: dict[str, str]) -> dict[str, DagRun]:
    """Start the deferrable gates and a campaign while there is no worker yet."""
    revocable = {"connection_id": "revoked", "conn_type": "smspartner", "host": accounts["revoked"].url}
    airflow.ask("POST", "/connections", revocable | {"password": keys["revoked"]})
    runs = {conn_id: airflow.trigger(f"gates_on_{conn_id}") for conn_id in GATES}
    return runs | {"campaign": airflow.trigger("smspartner_gate_campaign")}


@pytest.fixture(scope="module")
def workers(airflow: Airflow) -> Workers:
    workers = Workers(airflow)
    workers.start("worker-1", "worker-2")
    return workers


def test_a_task_that_waits_in_the_queue_carries_no_key(
    airflow: Airflow, waiting: dict[str, DagRun], servers: Servers, keys: dict[str, str]
) -> None:
    def queued() -> list[bytes]:
        return servers.redis.ask("LRANGE", servers.queue, 0, -1)

    airflow.until(lambda: len(queued()) == PARALLELISM)
    messages = {str(number): message.decode() for number, message in enumerate(queued())}
    bodies = {number: "".join(bodies_in(message)) for number, message in messages.items()}
    assert all("task_id" in body for body in bodies.values())
    assert leaks(keys, messages) == leaks(keys, bodies) == {}


def test_gates_from_both_workers_wait_in_the_triggerer(
    workers: Workers, waiting: dict[str, DagRun], figures: Figures
) -> None:
    began = time.monotonic()
    for conn_id, how_many in GATES.items():
        waiting[conn_id].wait_for(how_many, "deferred")
    hosts = hosts_of([gate for conn_id in GATES for gate in waiting[conn_id].tasks()])
    figures["deferrable gates on one connection, a second, a third"] = ", ".join(map(str, GATES.values()))
    figures["s from the start of two workers until the triggerer had them all"] = round(time.monotonic() - began)
    figures["gates that worker-1 and worker-2 read first"] = f"{hosts['worker-1']}, {hosts['worker-2']}"
    assert set(hosts) == {"worker-1", "worker-2"}


def test_a_campaign_that_cannot_be_paid_waits_off_the_workers(waiting: dict[str, DagRun], accounts: Accounts) -> None:
    waiting["campaign"].wait_for(1, "up_for_reschedule")
    accounts["smspartner_default"].top_up("5000")  # the gate sees it a minute later


def test_each_connection_is_asked_once_an_interval_whichever_worker_its_gates_came_from(
    waiting: dict[str, DagRun], accounts: Accounts, figures: Figures
) -> None:
    hold_to_one_request_an_interval(accounts["campaigns"], figures)


def test_a_key_that_goes_bad_fails_the_waiting_gates_at_once(
    airflow: Airflow, waiting: dict[str, DagRun], accounts: Accounts
) -> None:
    hold_to_failing_at_once_on_a_bad_key(airflow, accounts["revoked"], waiting["revoked"])


def test_snapshots_of_many_accounts_are_exact_and_a_run_that_is_repeated_replaces_its_rows(
    airflow: Airflow, workers: Workers, accounts: Accounts, servers: Servers, figures: Figures
) -> None:
    listed, mapped = airflow.trigger("smspartner_many_accounts"), airflow.trigger("smspartner_mapped_accounts")
    airflow.until(lambda: (listed.states()["success"], mapped.states()["success"]) == (1, 4), timeout=120)
    first = rows_of(servers, listed), rows_of(servers, mapped)
    accounts["smspartner_paris"].top_up("0.5")
    for run in (listed, mapped):
        run.run_again()
    airflow.until(lambda: (listed.states()["success"], mapped.states()["success"]) == (1, 4), timeout=120)
    figures["rows of 3 accounts, in a list and mapped, each run twice"] = sum(len(rows) for rows in first)
    for run, before in zip((listed, mapped), first, strict=True):
        rows = rows_of(servers, run)
        read = [(row["smspartner_conn_id"], row["credit_sms"], str(row["balance"]), row["currency"]) for row in rows]
        assert read == [
            ("smspartner_lyon", 2500, "2500.500000", "EUR"),
            ("smspartner_nantes", 0, "0.000000", "EUR"),
            ("smspartner_paris", 100, "100.501000", "EUR"),
        ]
        assert [row["snapshot_id"] for row in rows] == [row["snapshot_id"] for row in before]
        assert all(row["captured_at"] > old["captured_at"] for row, old in zip(rows, before, strict=True))
    assert [row["balance"] for row in listed.xcom(-1, "snapshot")] == ["100.501", "2500.500", "0.000"]


def test_a_snapshot_and_gates_whose_machine_dies_end_well_on_the_other_one(
    airflow: Airflow, workers: Workers, accounts: Accounts, servers: Servers, figures: Figures
) -> None:
    run = airflow.trigger("snapshot_that_stays")
    airflow.until(lambda: run.states()["running"] == 7 and rows_of(servers, run), timeout=120)
    (snapshot,) = tasks_of(run, "snapshot")
    lost, (before,) = snapshot["hostname"], rows_of(servers, run)
    on_it = {gate["map_index"] for gate in tasks_of(run, "poke") if gate["hostname"] == lost}
    assert on_it, "with 7 of 8 slots taken, each worker has at least 3 tasks"
    airflow.lose_component(lost)
    began = time.monotonic()
    accounts["held"].top_up("5000")
    run.wait_for(7, "success")
    figures[f"s from the death of {lost} until its snapshot and {len(on_it)} gates are done elsewhere"] = round(
        time.monotonic() - began
    )
    tries = {(task["task_id"], task["map_index"]): task["try_number"] for task in run.tasks()}
    assert {where for where, number in tries.items() if number == 2} == {
        ("snapshot", -1),
        *(("poke", gate) for gate in on_it),
    }
    assert set(hosts_of(run.tasks())) == {"worker-1", "worker-2"} - {lost}
    (row,) = rows_of(servers, run)
    assert row["snapshot_id"] == before["snapshot_id"]
    assert (before["credit_sms"], row["credit_sms"]) == (10, 5010)


def test_a_worker_that_is_asked_to_leave_ends_its_gates_first_and_takes_no_other_task(
    airflow: Airflow, workers: Workers, accounts: Accounts, figures: Figures
) -> None:
    accounts["held"].spend("5000")
    workers.start("worker-3")
    gates = airflow.trigger("gates_on_workers")
    airflow.until(lambda: states_of(gates, "poke")["running"] == 6, timeout=120)
    (leaving,) = set(hosts_of(tasks_of(gates, "poke"))) - {"worker-3"}
    airflow.signal_component(leaving, signal.SIGTERM)
    airflow.until(lambda: "Warm shutdown" in (airflow.home / f"{leaving}.log").read_text())
    on_it = hosts_of(tasks_of(gates, "poke"))[leaving]
    snapshots = airflow.trigger("smspartner_many_accounts")
    accounts["held"].top_up("5000")
    began = time.monotonic()
    assert airflow.wait_for_component(leaving) == 0
    figures[f"s from the top-up until a worker that was to leave with {on_it} gates on it has left"] = round(
        time.monotonic() - began
    )
    gates.wait_for(8, "success")
    snapshots.wait_for(1, "success")
    assert {gate["try_number"] for gate in tasks_of(gates, "poke")} == {1}
    assert hosts_of(tasks_of(gates, "poke"))[leaving] == on_it
    assert set(hosts_of(snapshots.tasks())) == {"worker-3"}


def test_a_campaign_goes_on_when_it_can_be_paid(waiting: dict[str, DagRun], servers: Servers) -> None:
    campaign = waiting["campaign"]
    campaign.wait_for(9, "success")
    assert states_of(campaign, "send_chunk_stand_in")["success"] == 4
    assert campaign.xcom(-1, "wait_for_credit")["sms"] == 5010
    assert [(row["task_id"], row["credit_sms"]) for row in rows_of(servers, campaign)] == [
        ("snapshot_after", 5010),
        ("snapshot_before", 5010),
    ]


def test_a_top_up_opens_every_gate(waiting: dict[str, DagRun], accounts: Accounts, figures: Figures) -> None:
    accounts["campaigns"].top_up("5000")
    began = time.monotonic()
    for conn_id in ("campaigns", "subaccount"):
        waiting[conn_id].wait_for(GATES[conn_id], "success")
    figures["s from the top-up until 53 deferrable gates are open"] = round(time.monotonic() - began)
    gates = waiting["campaigns"]
    assert {gate["try_number"] for gate in gates.tasks()} == {1}
    assert {gates.xcom(gate)["sms"] for gate in (0, 7, 49)} == {5010}


def test_metrics_reach_a_statsd_server_from_workers_and_from_the_triggerer(statsd: StatsD, figures: Figures) -> None:
    counted = {name: sum(statsd.received[f"smspartner.gates.{name}.campaigns"]) for name in ("waiting", "opened")}
    assert counted == {"waiting": GATES["campaigns"], "opened": GATES["campaigns"]}
    # A wait goes on from one worker through the triggerer to another worker.
    assert min(statsd.received["smspartner.gates.wait.campaigns"]) > 1_000 * INTERVAL * OBSERVED_INTERVALS
    # Each gate asks once on its worker; what is asked more often, the triggerer asks.
    assert sum(statsd.received["smspartner.readings.campaigns"]) > GATES["campaigns"]
    ours = [name for name in statsd.received if name.startswith("smspartner.")]
    figures["series of ours that a StatsD server got"] = len(ours)


def test_no_log_no_message_and_no_table_holds_a_key_in_any_spelling(
    airflow: Airflow, workers: Workers, servers: Servers, keys: dict[str, str], figures: Figures
) -> None:
    files = {path: path.read_bytes().decode(errors="replace") for path in airflow.home.rglob("*") if path.is_file()}
    for pattern, proof in FILES.items():
        assert any(proof in files[path] for path in airflow.home.glob(pattern)), f"{pattern} tells nothing"
    messages = bodies_in(files[airflow.home / "redis.log"])
    tables = rows_by_table(servers.metadata) | rows_by_table(servers.warehouse)
    assert [table for table, proof in TABLES.items() if proof not in tables[table]] == []
    texts = {str(path): text for path, text in files.items()} | tables
    texts |= {f"message {number}": body for number, body in enumerate(messages)}
    assert leaks(keys, texts) == {}
    figures["files, messages and tables searched for the keys"] = f"{len(files)}, {len(messages)}, {len(tables)}"
    figures["KiB of them"] = sum(map(len, texts.values())) // 1024


def test_nothing_is_left_running_or_listening(airflow: Airflow) -> None:
    assert airflow.stop() == []
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", airflow.port)) != 0
