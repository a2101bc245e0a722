"""The operator, in real tasks of a real Airflow, from the sandbox into SQLite."""

from __future__ import annotations

import json
import re
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, Asset, timezone
from sqlalchemy.engine import Engine

from airflow_provider_smspartner.exceptions import (
    SMSPartnerArgumentError,
    SMSPartnerConfigurationError,
    SMSPartnerUnavailableError,
)
from airflow_provider_smspartner.operators.credits import CreditsToSqlOperator
from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from tests.airflow_versions import needs_a_hash_of_assets

Rows = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rows:
    """Make the connection 'warehouse' to an empty SQLite file; return what reads its rows."""
    path = tmp_path / "warehouse.db"
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(path)}))

    def rows(table: str = "smspartner_credit_snapshots") -> list[dict[str, Any]]:
        with closing(sqlite3.connect(path)) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute(f'SELECT * FROM "{table}"')]

    return rows


def test_a_run_leaves_one_row_with_the_exact_figures(
    sandbox: SMSPartnerSandbox, connect: Any, rows: Rows, run_task: Any
) -> None:
    connect(sandbox)
    outcome = run_task(CreditsToSqlOperator, sql_conn_id="warehouse")
    assert outcome.state == "success"
    (row,) = rows()
    expected = {
        "smspartner_conn_id": "smspartner_default",
        "credit_sms": 269082,
        "credit_sms_low_cost": 444570,
        "credit_hlr": 2045023,
        "to_send": 0,
        "balance": "10225.119000",
        "currency": "EUR",
        "task_id": "task",
        "map_index": -1,
        "username": None,
    }
    assert row.items() >= expected.items()
    assert row["run_id"].startswith("manual__")


def test_its_xcom_is_the_rows_it_wrote_without_a_user_name(
    sandbox: SMSPartnerSandbox, connect: Any, rows: Rows, run_task: Any
) -> None:
    connect(sandbox)
    (told,) = run_task(CreditsToSqlOperator, sql_conn_id="warehouse").xcom
    (row,) = rows()
    assert told["snapshot_id"] == row["snapshot_id"]
    assert told["balance"] == "10225.119"
    assert told["captured_at"].endswith("+00:00")
    assert "username" not in told


def test_a_user_name_is_stored_only_when_asked_for(
    sandbox: SMSPartnerSandbox, connect: Any, rows: Rows, run_task: Any
) -> None:
    connect(sandbox)
    (told,) = run_task(CreditsToSqlOperator, sql_conn_id="warehouse", store_username=True).xcom
    assert rows()[0]["username"] == told["username"] == "sandbox@example.com"


def test_a_re_run_replaces_its_row_and_another_run_adds_one(
    sandbox: SMSPartnerSandbox, connect: Any, rows: Rows, run_dag: Any
) -> None:
    connect(sandbox)
    with DAG("snapshots_again", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        CreditsToSqlOperator(task_id="snapshot", sql_conn_id="warehouse")
    now = timezone.utcnow()
    for balance in ("10225.119", "10000", "9000"):
        sandbox.spend(sandbox.balance)
        sandbox.top_up(balance)
        assert run_dag(dag, at=now).state == "success"
    (row,) = rows()
    assert row["balance"] == "9000.000000"
    run_dag(dag)
    run_dag(dag)
    assert len(rows()) == 3


@pytest.fixture
def context() -> dict[str, Any]:
    """Return what an operator asks of the context of a triggered run, which on Airflow 3 has no logical date."""
    ti = SimpleNamespace(dag_id="campaign", task_id="snapshot", run_id="manual__1", map_index=-1)
    return {"ti": ti, "outlet_events": defaultdict(lambda: SimpleNamespace(extra={}))}


@needs_a_hash_of_assets
def test_a_re_run_that_keeps_leaves_the_first_row_and_tells_of_it(
    sandbox: SMSPartnerSandbox, connect: Any, rows: Rows, context: dict[str, Any], task_log: Callable[[], str]
) -> None:
    asset = Asset("credits_kept")
    connect(sandbox)
    one = {"task_id": "snapshot", "sql_conn_id": "warehouse", "on_rerun": "keep", "outlets": [asset]}
    (first,) = CreditsToSqlOperator(**one, store_username=True).execute(context)
    sandbox.spend("225.119")
    task_log()
    (again,) = CreditsToSqlOperator(**one).execute(context)
    assert first.pop("username") == "sandbox@example.com"
    assert (Decimal(again.pop("balance")), Decimal(first.pop("balance"))) == (Decimal("10225.119"),) * 2
    assert again == first
    assert [row["balance"] for row in rows()] == ["10225.119000"]
    (figures,) = context["outlet_events"][asset].extra["snapshots"]
    assert figures["balance"] == "10225.119000"
    log = task_log()
    assert "0 row(s) written to 'smspartner_credit_snapshots' over 'warehouse'" in log
    assert "1 row(s) were there before, and are kept" in log


def test_a_re_run_that_keeps_adds_the_account_that_failed_the_first_time(
    sandbox: SMSPartnerSandbox, connect: Any, rows: Rows, context: dict[str, Any]
) -> None:
    with SMSPartnerSandbox(balance="7") as flaky:
        conn_ids = [connect(flaky, "one", max_retries=0), connect(sandbox, "two")]
        operator = CreditsToSqlOperator(
            task_id="snapshot", sql_conn_id="warehouse", smspartner_conn_id=conn_ids, on_rerun="keep"
        )
        flaky.fail_next(times=1, http_status=503)
        with pytest.raises(SMSPartnerUnavailableError):
            operator.execute(context)
        sandbox.spend("225.119")
        assert [Decimal(row["balance"]) for row in operator.execute(context)] == [Decimal(7), Decimal("10225.119")]
    assert {row["smspartner_conn_id"]: row["balance"] for row in rows()} == {"one": "7.000000", "two": "10225.119000"}


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("on_rerun", "skip"),
        ("on_rerun", True),
        ("on_rerun", None),
        ("max_concurrency", 0),
        ("max_concurrency", -1),
        ("max_concurrency", 2.0),
        ("max_concurrency", True),
        ("max_concurrency", "4"),
        ("create_table", "False"),
        ("store_username", "yes"),
    ],
)
def test_an_argument_that_makes_no_sense_is_refused_at_parse_time(argument: str, value: object) -> None:
    with pytest.raises(SMSPartnerArgumentError, match=f"^{argument} is "):
        CreditsToSqlOperator(task_id="snapshot", sql_conn_id="warehouse", **{argument: value})


@pytest.mark.parametrize(
    ("argument", "rendered"),
    [
        ("table", 2026),
        ("table", None),
        ("table", "None"),
        ("table", " "),
        ("table", ["a"]),
        ("schema", 7),
        ("schema", ""),
        ("sql_conn_id", None),
        ("sql_conn_id", 12345),
        ("sql_conn_id", ["warehouse"]),
        ("smspartner_conn_id", None),
        ("smspartner_conn_id", "['one', 'two']"),
        ("smspartner_conn_id", [["one"], ["two"]]),
        ("smspartner_conn_id", []),
        ("smspartner_conn_id", ["one", "one"]),
    ],
)
def test_a_name_that_renders_to_no_name_is_refused_for_good_before_anything_is_asked(
    sandbox: SMSPartnerSandbox, connect: Any, rows: Rows, context: dict[str, Any], argument: str, rendered: object
) -> None:
    connect(sandbox)
    operator = CreditsToSqlOperator(task_id="snapshot", sql_conn_id="warehouse")
    setattr(operator, argument, rendered)
    with pytest.raises(SMSPartnerArgumentError, match=rf"^{argument}(\[0\])? is "):
        operator.execute(context)
    assert sandbox.requests == 0


def test_each_name_is_templated() -> None:
    assert set(CreditsToSqlOperator.template_fields) == {"sql_conn_id", "smspartner_conn_id", "table", "schema"}


def test_an_operator_leaves_no_connection_to_the_database_open(
    sandbox: SMSPartnerSandbox, connect: Any, rows: Rows, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(sandbox)
    disposed: list[Engine] = []
    dispose = Engine.dispose
    monkeypatch.setattr(Engine, "dispose", lambda self, *given: (dispose(self, *given), disposed.append(self)))
    for table in ("credits", "no such schema"):
        operator = CreditsToSqlOperator(task_id="snapshot", sql_conn_id="warehouse", table=table)
        operator.schema = None if table == "credits" else "nope"
        with suppress(SMSPartnerConfigurationError):
            operator.execute(context)
    assert len(disposed) == 2
    assert [engine.pool.checkedin() for engine in disposed if hasattr(engine.pool, "checkedin")] in ([0, 0], [])


def test_names_are_templated_and_quoted(sandbox: SMSPartnerSandbox, connect: Any, rows: Rows, run_task: Any) -> None:
    connect(sandbox, "reseller")
    outcome = run_task(
        CreditsToSqlOperator,
        smspartner_conn_id="{{ 'reseller' }}",
        sql_conn_id="{{ 'ware' }}house",
        table='{{ "select" }} "x"; drop',
    )
    assert outcome.state == "success"
    with pytest.raises(sqlite3.OperationalError):
        rows("smspartner_credit_snapshots")
    # The helper quotes without doubling, so double the quotes here.
    assert len(rows('select ""x""; drop')) == 1


def test_a_table_with_other_columns_is_refused_with_what_is_missing(
    sandbox: SMSPartnerSandbox, connect: Any, rows: Rows, run_task: Any, tmp_path: Path
) -> None:
    connect(sandbox)
    with closing(sqlite3.connect(tmp_path / "warehouse.db")) as database:
        database.execute("CREATE TABLE smspartner_credit_snapshots (snapshot_id TEXT PRIMARY KEY, credit_sms BIGINT)")
    outcome = run_task(CreditsToSqlOperator, sql_conn_id="warehouse", retries=3)
    assert (outcome.state, outcome.tries, rows()) == ("failed", 1, [])
    assert "SQL connection 'warehouse', table 'smspartner_credit_snapshots': it lacks" in outcome.log
    assert "captured_at" in outcome.log


def test_a_wrong_key_fails_without_task_retries_and_without_a_table(
    sandbox: SMSPartnerSandbox, connect: Any, rows: Rows, run_task: Any
) -> None:
    connect(sandbox, api_key="wrong-key")
    outcome = run_task(CreditsToSqlOperator, sql_conn_id="warehouse", retries=3)
    assert (outcome.state, outcome.tries, sandbox.requests) == ("failed", 1, 1)
    assert "'smspartner_default'" in outcome.log
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        rows()


def test_an_outage_leaves_the_task_to_its_retries(
    sandbox: SMSPartnerSandbox, connect: Any, rows: Rows, run_task: Any
) -> None:
    connect(sandbox, max_retries=0)
    sandbox.fail_next(times=1, http_status=503)
    outcome = run_task(CreditsToSqlOperator, sql_conn_id="warehouse", retries=1, retry_delay=0.01)
    assert (outcome.state, outcome.tries, len(rows())) == ("success", 2, 1)


def test_an_account_that_fails_costs_the_others_nothing(
    sandbox: SMSPartnerSandbox, connect: Any, rows: Rows, run_task: Any
) -> None:
    conn_ids = [connect(sandbox, "one"), connect(sandbox, "two", api_key="wrong-key"), connect(sandbox, "three")]
    outcome = run_task(CreditsToSqlOperator, smspartner_conn_id=conn_ids, sql_conn_id="warehouse")
    assert outcome.state == "failed"
    assert {row["smspartner_conn_id"] for row in rows()} == {"one", "three"}
    assert "SMS Partner connection 'two': " in outcome.log


def test_transient_errors_leave_the_task_to_its_retries_and_double_no_row(
    sandbox: SMSPartnerSandbox, connect: Any, rows: Rows, run_task: Any
) -> None:
    with SMSPartnerSandbox() as flaky:
        conn_ids = [connect(sandbox, "one"), *(connect(flaky, name, max_retries=0) for name in ("two", "three"))]
        flaky.fail_next(times=2, http_status=503)
        outcome = run_task(
            CreditsToSqlOperator, smspartner_conn_id=conn_ids, sql_conn_id="warehouse", retries=1, retry_delay=0.01
        )
    assert (outcome.state, outcome.tries) == ("success", 2)
    assert "2 accounts were not read, 1 were and have their rows" in outcome.log
    assert sorted(row["smspartner_conn_id"] for row in rows()) == ["one", "three", "two"]


def test_one_permanent_error_among_transient_ones_is_final(
    sandbox: SMSPartnerSandbox, connect: Any, rows: Rows, context: dict[str, Any]
) -> None:
    with SMSPartnerSandbox() as flaky:
        conn_ids = [connect(flaky, "one", max_retries=0), connect(sandbox, "two", api_key="wrong-key")]
        operator = CreditsToSqlOperator(task_id="snapshot", sql_conn_id="warehouse", smspartner_conn_id=conn_ids)
        for _ in range(2):
            flaky.fail_next(times=1, http_status=503)
            with pytest.raises(SMSPartnerConfigurationError, match="2 accounts were not read, 0 were") as caught:
                operator.execute(context)
            assert not caught.value.retryable
            operator.smspartner_conn_id = conn_ids[::-1]


@pytest.mark.parametrize("given", [None, datetime(2026, 7, 1, 12, tzinfo=UTC)])
def test_a_row_has_the_logical_date_of_its_run_where_there_is_one(
    sandbox: SMSPartnerSandbox, connect: Any, rows: Rows, context: dict[str, Any], given: datetime | None
) -> None:
    connect(sandbox)
    told = CreditsToSqlOperator(task_id="snapshot", sql_conn_id="warehouse").execute(context | {"logical_date": given})
    assert [row["logical_date"] for row in told] == [given and "2026-07-01T12:00:00+00:00"]
    assert [row["logical_date"] for row in rows()] == [given and "2026-07-01 12:00:00.000000"]


def test_one_account_that_needs_a_person_keeps_the_task_from_its_retries(
    sandbox: SMSPartnerSandbox, connect: Any, rows: Rows, run_task: Any
) -> None:
    conn_ids = [connect(sandbox, "one", api_key="wrong-key"), "nowhere", connect(sandbox, "three")]
    outcome = run_task(CreditsToSqlOperator, smspartner_conn_id=conn_ids, sql_conn_id="warehouse", retries=3)
    assert (outcome.state, outcome.tries) == ("failed", 1)
    assert "- SMS Partner connection 'nowhere': there is no such connection" in outcome.log
    assert "- SMS Partner connection 'one': SMS Partner does not know this API key" in outcome.log
    assert [row["smspartner_conn_id"] for row in rows()] == ["three"]


class ThreeAtATime(BaseHTTPRequestHandler):
    """Answers three requests together, none before the third is here, and knows how many there were at most."""

    meeting = threading.Barrier(3)
    lock = threading.Lock()
    here = most = 0

    def do_GET(self) -> None:
        with self.lock:
            ThreeAtATime.here += 1
            ThreeAtATime.most = max(self.most, self.here)
        self.meeting.wait(timeout=10)
        with self.lock:
            ThreeAtATime.here -= 1
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"credits": {"creditSms": 7}}')

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def test_accounts_are_read_side_by_side_up_to_max_concurrency(
    sandbox: SMSPartnerSandbox, connect: Any, rows: Rows, run_task: Any
) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), ThreeAtATime)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host = f"http://127.0.0.1:{server.server_port}/v1"
    conn_ids = [connect(sandbox, f"account_{number}", host=host, max_retries=0) for number in range(9)]
    outcome = run_task(CreditsToSqlOperator, smspartner_conn_id=conn_ids, sql_conn_id="warehouse", max_concurrency=3)
    server.shutdown()
    server.server_close()
    assert outcome.state == "success"
    assert {int(number) for number in re.findall(r"(\d+) of 9: SMS Partner connection", outcome.log)} == {*range(1, 10)}
    assert [row["smspartner_conn_id"] for row in outcome.xcom] == conn_ids
    assert len(rows()) == 9
    assert ThreeAtATime.most == 3


def test_it_maps_over_accounts_one_row_each_of_its_own_account(connect: Any, rows: Rows, run_dag: Any) -> None:
    with ExitStack() as running:
        accounts = [running.enter_context(SMSPartnerSandbox(balance=10 + number)) for number in range(3)]
        conn_ids = [connect(account, f"account_{number}") for number, account in enumerate(accounts)]
        with DAG("mapped_snapshots", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
            CreditsToSqlOperator.partial(task_id="snapshot", sql_conn_id="warehouse").expand(
                smspartner_conn_id=conn_ids
            )
        assert run_dag(dag).state == "success"
    told = sorted((row["smspartner_conn_id"], row["map_index"], Decimal(row["balance"])) for row in rows())
    assert told == [("account_0", 0, 10), ("account_1", 1, 11), ("account_2", 2, 12)]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"sql_conn_id": "nowhere"}, "SQL connection 'nowhere': there is no such connection"),
        (
            {"sql_conn_id": "smspartner_default"},
            "SQL connection 'smspartner_default': its type, 'smspartner', has no SQL hook",
        ),
        ({"sql_conn_id": "exotic"}, "SQL connection 'exotic': no installed provider serves its type"),
    ],
)
def test_a_connection_that_cannot_be_used_is_named(
    sandbox: SMSPartnerSandbox,
    connect: Any,
    run_task: Any,
    rows: Rows,
    monkeypatch: pytest.MonkeyPatch,
    arguments: dict[str, Any],
    told: str,
) -> None:
    connect(sandbox)
    monkeypatch.setenv("AIRFLOW_CONN_EXOTIC", '{"conn_type": "exotic"}')
    outcome = run_task(CreditsToSqlOperator, **{"sql_conn_id": "warehouse", "retries": 3} | arguments)
    assert (outcome.state, outcome.tries) == ("failed", 1)
    assert told in outcome.log
