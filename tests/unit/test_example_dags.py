"""The example DAGs, run to their ends on a real Airflow against the sandbox."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, aclosing, closing
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateTable

from airflow_provider_smspartner.account import CreditRequirement
from airflow_provider_smspartner.hooks.reservations import CreditReservationsHook
from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from airflow_provider_smspartner.sql.snapshots import snapshot_table
from tests.airflow_versions import AIRFLOW, needs_a_hash_of_assets, needs_airflow, open_dag_bag
from tests.daily_snapshots import take_daily_snapshots

if TYPE_CHECKING:
    from airflow.models import DagBag

EXAMPLES = Path(__file__).parents[2] / "example_dags"


@pytest.fixture(scope="module")
def examples(airflow_db: None) -> DagBag:
    return open_dag_bag(EXAMPLES)


@pytest.fixture
def warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sqlite3.Connection]:
    path = tmp_path / "warehouse.db"
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(path)}))
    with closing(sqlite3.connect(path)) as database:
        yield database


def test_every_example_is_read_without_an_error(examples: DagBag) -> None:
    needed = {"smspartner_credit_watch.py": (3, 0), "smspartner_ask_a_person.py": (3, 1)}
    unread = {EXAMPLES / name for name, least in needed.items() if least > AIRFLOW}
    assert {Path(path) for path in examples.import_errors} == unread
    assert {Path(dag.fileloc) for dag in examples.dags.values()} == set(EXAMPLES.glob("*.py")) - unread


def test_the_snapshot_example_keeps_a_row_a_run(
    sandbox: SMSPartnerSandbox, connect: Any, examples: DagBag, warehouse: sqlite3.Connection, run_dag: Any
) -> None:
    connect(sandbox)
    for _ in range(2):
        assert run_dag(examples.dags["smspartner_credit_snapshots"]).state == "success"
    (count,) = warehouse.execute("SELECT count(*) FROM smspartner_credit_snapshots").fetchone()
    assert count == 2


def test_the_campaign_example_sends_only_once_the_credit_is_there(
    connect: Any,
    examples: DagBag,
    warehouse: sqlite3.Connection,
    run_dag: Any,
    once_it_waits: Any,
    task_log: Any,
    caplog: Any,
) -> None:
    dag = examples.dags["smspartner_gate_campaign"]
    dag.get_task("wait_for_credit").poke_interval = 0.05
    with SMSPartnerSandbox(balance="100") as sandbox:
        connect(sandbox)
        with once_it_waits(sandbox, lambda: sandbox.top_up("100")):
            assert run_dag(dag).state == "success"
    told = task_log()
    assert "2631 sms available (0 pending subtracted), 4000 needed: not enough" in told
    assert "5263 sms available (0 pending subtracted), 4000 needed: enough" in told
    assert caplog.text.count("would now send to recipients") == 4
    written = warehouse.execute("SELECT task_id, credit_sms FROM smspartner_credit_snapshots ORDER BY captured_at")
    assert written.fetchall() == [("snapshot_before", 5263), ("snapshot_after", 5263)]


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CreditReservationsHook:
    connection = {"conn_type": "sqlite", "host": str(tmp_path / "ledger.db")}
    monkeypatch.setenv("AIRFLOW_CONN_LEDGER", json.dumps(connection))
    return CreditReservationsHook("ledger")


def test_the_reserving_example_waits_for_its_credit_deducts_what_it_sends_and_releases(
    connect: Any,
    examples: DagBag,
    ledger: CreditReservationsHook,
    run_dag: Any,
    once_it_waits: Any,
    in_a_hurry: None,
    caplog: Any,
) -> None:
    dag = examples.dags["smspartner_reserve_campaign"]
    dag.get_task("reserve").poke_interval = 0.05
    with SMSPartnerSandbox(balance="100") as sandbox:
        connect(sandbox)
        with once_it_waits(sandbox, lambda: sandbox.top_up("100")):
            assert run_dag(dag).state == "success"
    assert re.findall(r"would now send (\d+) SMS", caplog.text) == ["1000"] * 4
    (row,) = ledger.reservations(active=False)
    assert (row.amount, row.deducted, row.ended_how) == (4000, 4000, "released")


def test_the_reserving_example_sends_nothing_without_its_hold(
    sandbox: SMSPartnerSandbox, connect: Any, examples: DagBag, ledger: CreditReservationsHook, caplog: Any
) -> None:
    connect(sandbox)
    send = examples.dags["smspartner_reserve_campaign"].get_task("send_chunk").python_callable
    held = ledger.reserve("smspartner_default", CreditRequirement(1000), holder="a test", hold_for=timedelta(hours=1))
    send(held.as_xcom(), [0, 10], {"sms_per_recipient": 2})
    assert ledger.reservations()[0].held == 980
    ledger.release(held)
    caplog.clear()
    with pytest.raises(AirflowException, match="reservation is gone"):
        send(held.as_xcom(), [0, 10], {"sms_per_recipient": 2})
    assert "would now send" not in caplog.text


def test_the_deferrable_example_waits_in_the_triggerer_for_its_budget(
    connect: Any, examples: DagBag, run_dag: Any, once_it_waits: Any, in_a_hurry: None
) -> None:
    dag = examples.dags["smspartner_deferrable_gate"]
    dag.get_task("wait_for_budget").poke_interval = 0.05
    with SMSPartnerSandbox(balance="149.99") as sandbox:
        connect(sandbox)
        with once_it_waits(sandbox, lambda: sandbox.top_up("0.01")):
            run = run_dag(dag)
    assert run.state == "success"
    assert run.get_task_instance("send_stand_in").xcom_pull("send_stand_in").endswith("with a balance of 150.000")


@needs_airflow(3, 0, for_the_sake_of="asset watchers")
@pytest.mark.parametrize(
    ("dag_id", "asset"),
    [
        ("smspartner_low_credit_alert", "smspartner_low_credit"),
        ("smspartner_credit_arrived", "smspartner_credit_arrived"),
    ],
)
def test_the_watching_examples_start_on_their_asset_and_read_its_event(
    examples: DagBag, run_dag: Any, dag_id: str, asset: str
) -> None:
    dag = examples.dags[dag_id]
    (watched,) = dag.timetable.asset_condition.objects
    assert watched.name == asset
    assert [watcher.trigger.requirement.credit_type for watcher in watched.watchers] == ["balance"]
    assert run_dag(dag).state == "success"


@needs_a_hash_of_assets
@needs_airflow(3, 0, for_the_sake_of="asset watchers")
async def test_the_watching_example_tells_of_low_credit_and_of_a_watcher_that_cannot_read(
    sandbox: SMSPartnerSandbox, connect: Any, examples: DagBag, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_smspartner.triggers.readings.SHORTEST_INTERVAL", 0.01)
    dag = examples.dags["smspartner_low_credit_alert"]
    (watched,) = dag.timetable.asset_condition.objects
    (watcher,) = watched.watchers
    watcher.trigger.poke_interval = 0.01
    connect(sandbox)
    sandbox.fail_next(http_status=401)
    sandbox.spend("10200")
    payloads = []
    async with aclosing(watcher.trigger.run()) as events:
        async for event in events:
            payloads.append(json.loads(json.dumps(event.payload)))
            if len(payloads) == 3:
                break
    tell = dag.get_task("tell").python_callable
    unreadable, readable, low = tell({watched: [SimpleNamespace(extra={"payload": payload}) for payload in payloads]})
    assert unreadable.startswith("Nobody watches smspartner_default: SMS Partner refuses access")
    assert readable == "smspartner_default is watched again, at 25.119"
    assert low == "smspartner_default is below 50, at 25.119"


def test_the_warehouse_example_fills_a_table_that_others_made_and_creates_none(
    sandbox: SMSPartnerSandbox, connect: Any, examples: DagBag, warehouse: sqlite3.Connection, run_dag: Any
) -> None:
    connect(sandbox)
    dag = examples.dags["smspartner_warehouse"]
    snapshot = dag.get_task("snapshot")
    snapshot.schema = "main"  # SQLite's only one
    assert run_dag(dag).state == "failed"
    assert warehouse.execute("SELECT name FROM sqlite_master").fetchall() == []

    warehouse.execute(str(CreateTable(snapshot_table(snapshot.table)).compile(dialect=sqlite.dialect())))
    warehouse.execute(f"ALTER TABLE {snapshot.table} ADD COLUMN team TEXT DEFAULT 'marketing'")
    assert run_dag(dag).state == "success"
    written = warehouse.execute(f"SELECT smspartner_conn_id, balance, team FROM {snapshot.table}").fetchall()
    assert written == [("smspartner_default", "10225.119000", "marketing")]


@pytest.fixture
def three_accounts(connect: Any) -> Iterator[None]:
    """Give each account of the example a balance of its own."""
    balances = {"smspartner_paris": "1", "smspartner_lyon": "2", "smspartner_nantes": "3"}
    with ExitStack() as running:
        for conn_id, balance in balances.items():
            connect(running.enter_context(SMSPartnerSandbox(balance=balance)), conn_id)
        yield


ROWS = "SELECT smspartner_conn_id, balance, map_index FROM smspartner_credit_snapshots ORDER BY balance"


def test_the_list_example_writes_the_rows_of_all_accounts_in_one_task(
    three_accounts: None, examples: DagBag, warehouse: sqlite3.Connection, run_dag: Any
) -> None:
    assert run_dag(examples.dags["smspartner_many_accounts"]).state == "success"
    assert warehouse.execute(ROWS).fetchall() == [
        ("smspartner_paris", "1.000000", -1),
        ("smspartner_lyon", "2.000000", -1),
        ("smspartner_nantes", "3.000000", -1),
    ]


def test_the_mapped_example_fails_for_the_one_account_that_is_refused(
    three_accounts: None,
    connect: Any,
    examples: DagBag,
    warehouse: sqlite3.Connection,
    run_dag: Any,
) -> None:
    with SMSPartnerSandbox() as refusing:
        connect(refusing, "smspartner_lyon", api_key="wrong")
        run = run_dag(examples.dags["smspartner_mapped_accounts"])
    mapped = [instance for instance in run.get_task_instances() if instance.task_id == "snapshot"]
    assert {instance.rendered_map_index: str(instance.state) for instance in mapped} == {
        "smspartner_paris": "success",
        "smspartner_lyon": "failed",
        "smspartner_nantes": "success",
    }
    assert warehouse.execute(ROWS).fetchall() == [
        ("smspartner_paris", "1.000000", 0),
        ("smspartner_nantes", "3.000000", 2),
    ]


def test_the_forecasting_example_warns_of_the_account_that_is_short(
    examples: DagBag, warehouse: sqlite3.Connection, run_dag: Any, tmp_path: Path
) -> None:
    take_daily_snapshots(tmp_path / "warehouse.db", smspartner_paris=(90, 60, 30), smspartner_lyon=(90, 89, 88))
    run = run_dag(examples.dags["smspartner_credit_forecast"])
    assert run.state == "success"
    (line,) = run.get_task_instance("warn").xcom_pull("warn")
    assert re.fullmatch(r"smspartner_paris: credit until 20\d\d-\d\d-\d\d", line)


def test_the_pruning_example_deletes_what_is_older_than_two_years(
    examples: DagBag, warehouse: sqlite3.Connection, run_dag: Any, tmp_path: Path
) -> None:
    take_daily_snapshots(tmp_path / "warehouse.db", paris=(3, 2, 1))
    warehouse.execute(
        "UPDATE smspartner_credit_snapshots SET captured_at = '2020-01-01 00:00:00' WHERE credit_sms = 30"
    )
    warehouse.commit()
    assert run_dag(examples.dags["smspartner_prune_snapshots"]).state == "success"
    left = warehouse.execute("SELECT credit_sms FROM smspartner_credit_snapshots ORDER BY captured_at").fetchall()
    assert left == [(20,), (10,)]


def test_the_dag_in_the_readme_runs_over_its_connections(
    sandbox: SMSPartnerSandbox, connect: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_dag: Any
) -> None:
    readme = (EXAMPLES.parent / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    exported = {name: json.loads(value) for name, value in re.findall(r"^export (\w+)='(.+)'$", readme, re.MULTILINE)}
    assert set(exported) == {"AIRFLOW_CONN_SMSPARTNER_DEFAULT", "AIRFLOW_CONN_WAREHOUSE"}
    # As they stand, but for an account and a file of the test's own.
    account = json.loads(sandbox.connection_json())
    assert exported["AIRFLOW_CONN_SMSPARTNER_DEFAULT"].keys() <= account.keys()
    exported["AIRFLOW_CONN_SMSPARTNER_DEFAULT"] |= account
    exported["AIRFLOW_CONN_WAREHOUSE"]["host"] = str(tmp_path / "credits.db")
    for name, connection in exported.items():
        monkeypatch.setenv(name, json.dumps(connection))
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "campaign.py").write_text(code)
    assert run_dag(open_dag_bag(dags).dags["campaign"]).state == "success"
    with closing(sqlite3.connect(tmp_path / "credits.db")) as database:
        assert database.execute("SELECT balance FROM smspartner_credit_snapshots").fetchall() == [("10225.119000",)]
