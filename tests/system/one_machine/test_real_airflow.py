"""What gates and watchers cost and do on a real Airflow, triggerers killed meanwhile: one story, in this order."""

from __future__ import annotations

import json
import signal
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from airflow_provider_smspartner import __version__
from tests.spellings import leaks
from tests.system.waiting_gates import (
    GATES,
    INTERVAL,
    ONE_ACCOUNT,
    hold_to_failing_at_once_on_a_bad_key,
    hold_to_one_request_an_interval,
)

if TYPE_CHECKING:
    from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
    from tests.listeners import Collector, StatsD
    from tests.system.airflow import Airflow, DagRun

Figures = dict[str, object]

STOPS = [signal.SIGTERM, signal.SIGKILL]
"""How a triggerer ends: as its orchestrator asks it to, or at once."""

FILES = {
    "api-server.log": "/connections/test",
    "dag-processor.log": "gates.py",
    "scheduler.log": "gates_on_campaigns",
    "triggerer.log": "CreditsTrigger",
    "logs/**/attempt=*.log": "apiKey=***",
    "logs/**/*.log.trigger.*.log": "sms available",
    "logs/dag_processor/**/*.log": "gates",
}
"""What Airflow logs: by file, something that belongs there."""

TABLES = {
    "asset_event": "crossed",
    "connection": "revoked",
    "dag_run": "on_credit_arrived",
    "log": "gates_on_revoked",
    "rendered_task_instance_fields": "1007",
    "serialized_dag": "CreditsSensor",
    "task_instance": "gates_on_campaigns",
    "trigger": "CreditsTrigger",
    "xcom": "fetched_at",
}
"""What Airflow stores: by table, something that belongs there."""

SETTLED = 8
"""Polls of the watchers, one a second, in which Airflow makes a DAG run of an event, should there be one."""


@dataclass(frozen=True)
class Waiting:
    """The gates' DAG runs by connection, and when they were started."""

    runs: dict[str, DagRun]
    began: float


@pytest.fixture(scope="module")
def waiting(airflow: Airflow, revoked: SMSPartnerSandbox, keys: dict[str, str], figures: Figures) -> Waiting:
    """Start all gates, and return when each waits in the triggerer."""
    revocable = {"connection_id": "revoked", "conn_type": "smspartner", "host": revoked.url}
    airflow.ask("POST", "/connections", revocable | {"password": keys["revoked"]})
    began = time.monotonic()
    runs = {conn_id: airflow.trigger(f"gates_on_{conn_id}") for conn_id in GATES}
    for conn_id, run in runs.items():
        run.wait_for(GATES[conn_id], "deferred")
    figures["gates on one connection, a second, a third"] = ", ".join(map(str, GATES.values()))
    figures["s until the triggerer had them all"] = round(time.monotonic() - began)
    return Waiting(runs, began)


def test_airflow_finds_the_provider_in_the_wheel(airflow: Airflow) -> None:
    providers = {one["package_name"]: one["version"] for one in airflow.ask("GET", "/providers?limit=100")["providers"]}
    assert providers["airflow-provider-smspartner"] == __version__


def test_each_connection_is_asked_once_an_interval_however_many_gates_wait_on_it(
    waiting: Waiting, account: SMSPartnerSandbox, keys: dict[str, str], figures: Figures
) -> None:
    hold_to_one_request_an_interval(account, figures)
    for conn_id in ONE_ACCOUNT:
        since_the_start = account.requests_by_key[keys[conn_id]]
        pokes = GATES[conn_id]  # each gate asks once on its worker
        assert since_the_start <= pokes + (time.monotonic() - waiting.began) / INTERVAL + 1


def test_metrics_arrive_from_every_task_and_from_the_triggerer(
    airflow: Airflow, waiting: Waiting, metrics: StatsD | Collector, figures: Figures
) -> None:
    def received(name: str) -> float:
        return sum(metrics.received[f"smspartner.{name}.campaigns"])

    # Each gate has a process of its own on the worker, and hands its metrics over before that ends.
    airflow.until(lambda: received("gates.waiting") == GATES["campaigns"])
    # Each of these asks once; what is asked more often, the triggerer asks.
    airflow.until(lambda: received("readings") > GATES["campaigns"])
    assert set(metrics.received["smspartner.sms.campaigns"]) == {10}
    ours = [name for name in metrics.received if name.startswith("smspartner.")]
    figures["series of ours that a server of metrics got"] = len(ours)


def test_what_airflow_keeps_of_a_waiting_trigger_holds_no_key(
    airflow: Airflow, waiting: Waiting, keys: dict[str, str]
) -> None:
    arguments = airflow.trigger_arguments()
    assert len(arguments) >= sum(GATES.values())
    assert all("smspartner_conn_id" in text for text in arguments)
    assert leaks(keys, {"the arguments": "\n".join(arguments)}) == {}


def test_a_waiting_gate_tells_in_its_own_log_what_it_lacks_and_repeats_nothing(waiting: Waiting) -> None:
    events = [entry["event"] for entry in waiting.runs["campaigns"].log(gate=7)]
    # Once on the worker, and once in the triggerer, which has read it several times by now.
    assert events.count("SMS Partner connection 'campaigns': 10 sms available, 1007 needed: not enough") == 2


def test_a_key_that_goes_bad_fails_the_waiting_gates_at_once_and_says_what_to_do(
    airflow: Airflow, waiting: Waiting, revoked: SMSPartnerSandbox
) -> None:
    gates = waiting.runs["revoked"]
    hold_to_failing_at_once_on_a_bad_key(airflow, revoked, gates)
    for gate in range(GATES["revoked"]):
        reading = f"SMS Partner connection 'revoked': 10 sms available, {1000 + gate} needed: not enough"
        assert [entry["event"] for entry in gates.log(gate)].count(reading) >= 2


def test_a_stored_trigger_that_is_refused_fails_its_own_gate_and_the_others_are_served_on(
    airflow: Airflow, waiting: Waiting, account: SMSPartnerSandbox
) -> None:
    triggerer = airflow.process_of("triggerer")
    before = triggerer, triggerer.children(recursive=True)
    refused = airflow.trigger("gates_stored_by_another_version")
    refused.wait_for(1, "failed")
    assert [task["try_number"] for task in refused.tasks()] == [1]
    told = [(entry["level"], entry["event"]) for entry in refused.log(gate=0) if "level" in entry]
    assert ("error", "SMS Partner connection 'campaigns': permanent error, needs action:") in told
    assert any(level == "error" and event.startswith("min_credits is '{{ params.n }}'") for level, event in told)
    # Each of the two connections at least once, and by the same process as before.
    asked = account.requests_by_key
    airflow.until(lambda: len(account.requests_by_key - asked) == 2)
    assert (triggerer, triggerer.children(recursive=True)) == before
    assert triggerer.is_running()
    assert waiting.runs["campaigns"].states()["deferred"] == GATES["campaigns"]


@pytest.mark.parametrize("how", STOPS, ids=lambda how: how.name)
def test_a_restart_of_the_triggerer_loses_no_gate(
    airflow: Airflow, waiting: Waiting, account: SMSPartnerSandbox, figures: Figures, how: signal.Signals
) -> None:
    began = time.monotonic()
    airflow.stop_triggerer(how)
    stopped, asked = time.time(), account.requests
    airflow.start_triggerer()
    account.wait_for_requests(asked + 1, timeout=120)
    figures[f"s from {how.name} to the triggerer until the next poll"] = round(time.monotonic() - began)
    gates = waiting.runs["campaigns"]
    airflow.until(lambda: gates.told_a_reading_since(stopped) == GATES["campaigns"])
    lost = GATES["campaigns"] - gates.states()["deferred"]
    figures[f"gates lost by {how.name}"] = lost
    assert lost == 0


def test_a_top_up_opens_every_gate(waiting: Waiting, account: SMSPartnerSandbox, figures: Figures) -> None:
    account.top_up("5000")
    began = time.monotonic()
    for conn_id in ("campaigns", "subaccount"):
        waiting.runs[conn_id].wait_for(GATES[conn_id], "success")
    figures["s from the top-up until every gate is open"] = round(time.monotonic() - began)
    gates = waiting.runs["campaigns"]
    assert {task["try_number"] for task in gates.tasks()} == {1}
    assert gates.xcom(gate=7)["sms"] == 5010


class Watch:
    """The watched account, and what its two watchers have started."""

    def __init__(self, airflow: Airflow, account: SMSPartnerSandbox) -> None:
        self._airflow = airflow
        self.account = account

    def polls(self, times: int = 2) -> None:
        """Wait for polls; the second surely sees what the account held before."""
        self.account.wait_for_requests(self.account.requests + times, timeout=120)

    def started(self) -> tuple[int, int]:
        """Return the DAG runs that credit arriving, and credit running low, have started."""
        dags = "on_credit_arrived", "on_credit_low"
        arrived, low = (self._airflow.ask("GET", f"/dags/{dag}/dagRuns")["total_entries"] for dag in dags)
        return arrived, low

    def events(self) -> int:
        """Return the events that both watchers have fired, as far as Airflow has stored them."""
        events: int = self._airflow.ask("GET", "/assets/events")["total_entries"]
        return events

    def remembers_that_credit_arrived(self) -> bool:
        asset = "SELECT id FROM asset WHERE name = 'credit_arrived'"
        return ("true",) in self._airflow.query(f"SELECT value FROM asset_state_store WHERE asset_id = ({asset})")

    def settles_at(self, *started: int) -> bool:
        """Return whether so many runs are started, and not one more in a good number of polls to come."""
        self._airflow.until(lambda: self.started() >= started)
        self.polls(SETTLED)
        # Airflow may make one run of several events, if they come at the same time.
        return (self.started(), self.events()) == (started, sum(started))


@pytest.fixture(scope="module")
def watch(airflow: Airflow, watched: SMSPartnerSandbox) -> Watch:
    watch = Watch(airflow, watched)
    assert watch.settles_at(0, 0)
    return watch


def test_a_watcher_starts_one_run_for_a_crossing_and_not_one_for_a_poll(watch: Watch) -> None:
    watch.account.top_up(600)
    assert watch.settles_at(1, 0)


def test_a_value_that_dances_within_the_margin_starts_nothing(watch: Watch) -> None:
    for _ in range(3):
        watch.account.spend(300)  # to 900: below the threshold, and above where the watcher is armed again
        watch.polls()
        watch.account.top_up(300)
        watch.polls()
    assert watch.settles_at(1, 0)


def test_a_watcher_that_is_armed_again_fires_at_the_next_crossing(watch: Watch) -> None:
    watch.account.spend(500)
    watch.polls()
    watch.account.top_up(500)
    assert watch.settles_at(2, 0)


@pytest.mark.parametrize("how", STOPS, ids=lambda how: how.name)
def test_after_a_restart_of_the_triggerer_no_watcher_fires_again_for_the_same_crossing(
    airflow: Airflow, watch: Watch, how: signal.Signals
) -> None:
    airflow.stop_triggerer(how)
    airflow.start_triggerer()
    assert watch.settles_at(2, 0)


def test_a_watcher_of_low_credit_starts_one_run_after_a_restart_too(watch: Watch, figures: Figures) -> None:
    watch.account.spend(1000)
    assert watch.settles_at(2, 1)
    figures["polls of the watchers, one a second"] = watch.account.requests
    figures["DAG runs of 2 crossings up, and of 1 down"] = ", ".join(map(str, watch.started()))


def test_a_crossing_outlives_a_triggerer_that_is_killed_at_that_moment(airflow: Airflow, watch: Watch) -> None:
    (arrived, _), events = watch.started(), watch.events()
    watch.account.top_up(1000)
    airflow.until(lambda: watch.remembers_that_credit_arrived() or watch.events() > events, pause=0.01)
    airflow.stop_triggerer(signal.SIGKILL)
    airflow.start_triggerer()
    watch.polls(SETTLED)
    assert watch.started()[0] > arrived


def test_a_page_that_tests_or_shows_a_connection_is_told_no_key(
    airflow: Airflow, account: SMSPartnerSandbox, watched: SMSPartnerSandbox, keys: dict[str, str]
) -> None:
    for conn_id, key in keys.items():
        for host in (account.url, watched.url, "http://127.0.0.1:1/v1"):  # which know some of the keys each, or none
            tested = {"connection_id": conn_id, "conn_type": "smspartner", "host": host, "password": key}
            shown = json.dumps(airflow.ask("POST", "/connections/test", tested), ensure_ascii=False)
            assert "SMS Partner" in shown
            assert leaks(keys, {f"a test of {conn_id} on {host}": shown}) == {}
    shown = json.dumps(airflow.ask("GET", "/connections/revoked"), ensure_ascii=False)
    assert "smspartner" in shown
    assert leaks(keys, {"the form": shown}) == {}


def rows(airflow: Airflow, table: str) -> str:
    cells = [cell for row in airflow.query(f'SELECT * FROM "{table}"') for cell in row]
    return "\n".join(cell.decode(errors="replace") if isinstance(cell, bytes) else str(cell) for cell in cells)


def test_no_log_and_no_table_holds_a_key_in_any_spelling(
    airflow: Airflow, watch: Watch, keys: dict[str, str], figures: Figures
) -> None:
    files = [path for path in airflow.home.rglob("*") if path.is_file() and not path.name.startswith("airflow.db")]
    texts = {path: path.read_bytes().decode(errors="replace") for path in files}
    for pattern, proof in FILES.items():
        assert any(proof in texts[path] for path in airflow.home.glob(pattern)), f"{pattern} tells nothing"
    assert leaks(keys, texts) == {}
    tables = {table: rows(airflow, table) for table in airflow.tables()}
    assert [table for table, proof in TABLES.items() if proof not in tables[table]] == []
    assert leaks(keys, tables) == {}
    figures["files and tables searched for the keys"] = f"{len(texts)}, {len(tables)}"
    figures["KiB of them"] = ", ".join(str(sum(map(len, found.values())) // 1024) for found in (texts, tables))


def test_nothing_is_left_running_or_listening(airflow: Airflow) -> None:
    assert airflow.stop() == []
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", airflow.port)) != 0
