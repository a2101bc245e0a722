"""What is Snowflake's own: no key is enforced, and names without quotes are upper case."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from importlib.util import find_spec

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from airflow_provider_smspartner.account import Account, Credits, User
from airflow_provider_smspartner.exceptions import SMSPartnerConfigurationError
from airflow_provider_smspartner.sql.snapshots import Snapshot, TaskInstanceRef, snapshot_table, write_snapshots
from airflow_provider_smspartner.sql.tables import folded_table
from tests.integration.conftest import execute

if find_spec("fakesnow") is None and "TEST_SNOWFLAKE" not in os.environ:
    pytest.skip("fakesnow has an environment of its own: make snowflake", allow_module_level=True)

SNAPSHOT = Snapshot.of(
    Account(User(None, None, None), Credits(5, 6, 7, 0, Decimal("10225.119"), "EUR"), datetime(2026, 7, 1, tzinfo=UTC)),
    "smspartner_default",
    TaskInstanceRef("campaign", "snapshot", "manual__1"),
)


def without_key(engine: Engine) -> None:
    """Make the table as Snowflake treats it: fakesnow, unlike it, would enforce the key."""
    write_snapshots(engine, snapshot_table("source"), [SNAPSHOT])
    execute(engine, "CREATE TABLE credits AS SELECT * FROM source WHERE 1 = 0")


def test_a_merge_keeps_one_row_per_snapshot_without_a_key(snowflake: Engine) -> None:
    without_key(snowflake)
    for sms in (1, 2):
        rows = [replace(SNAPSHOT, credit_sms=sms), replace(SNAPSHOT, run_id=f"manual__{sms + 1}", balance=None)]
        write_snapshots(snowflake, snapshot_table("credits"), rows)
    assert execute(snowflake, "SELECT run_id, credit_sms, balance FROM credits ORDER BY run_id") == [
        ("manual__1", 2, Decimal("10225.119")),
        ("manual__2", 5, None),
        ("manual__3", 5, None),
    ]


def test_many_rows_are_one_merge(snowflake: Engine) -> None:
    write_snapshots(snowflake, snapshot_table("credits"), [SNAPSHOT])
    merges: list[str] = []
    sa.event.listen(
        snowflake, "before_cursor_execute", lambda *event: event[2].startswith("MERGE") and merges.append(event[2])
    )
    many = [replace(SNAPSHOT, smspartner_conn_id=f"shop_{n}") for n in range(200)]
    for _ in range(2):
        write_snapshots(snowflake, snapshot_table("credits"), many)
    assert len(merges) == 2
    assert execute(snowflake, "SELECT count(*) FROM credits") == [(201,)]


def test_rows_that_were_doubled_before_are_reported(snowflake: Engine) -> None:
    without_key(snowflake)
    execute(snowflake, *["INSERT INTO credits SELECT * FROM source"] * 2)
    with pytest.raises(SMSPartnerConfigurationError, match="does not keep one row per snapshot_id"):
        write_snapshots(snowflake, snapshot_table("credits"), [SNAPSHOT])


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("credits", "CREDITS"),
        ("order", "ORDER"),
        ("CREDITS", "CREDITS"),
        ("Mixed Case", "Mixed Case"),
        ("lower case", "lower case"),
        ('a"b', 'a"b'),
    ],
)
def test_a_plain_lower_case_name_is_the_one_that_sql_without_quotes_finds(
    snowflake: Engine, name: str, kept: str
) -> None:
    table = snapshot_table(name)
    for sms in (1, 2):
        write_snapshots(snowflake, table, [replace(SNAPSHOT, credit_sms=sms)])
    quoted = '"{}"'.format(kept.replace('"', '""'))
    assert execute(snowflake, f"SELECT credit_sms FROM {quoted}") == [(2,)]
    assert folded_table(table, snowflake.dialect).name == kept


@pytest.mark.parametrize(("schema", "kept"), [("marts", "MARTS"), ("analytics.marts", "MARTS"), ("Marts", '"Marts"')])
def test_a_schema_is_folded_too_and_may_name_its_database(snowflake: Engine, schema: str, kept: str) -> None:
    execute(snowflake, f"CREATE SCHEMA {kept}")
    table = snapshot_table("credits", schema)
    for sms in (1, 2):
        write_snapshots(snowflake, table, [replace(SNAPSHOT, credit_sms=sms)])
    assert execute(snowflake, f"SELECT credit_sms FROM analytics.{kept}.credits") == [(2,)]


def test_the_table_has_the_types_of_the_documentation(snowflake: Engine) -> None:
    write_snapshots(snowflake, snapshot_table("credits"), [SNAPSHOT])
    kinds = {row[0]: row[1] for row in execute(snowflake, "DESCRIBE TABLE credits")}
    assert kinds["CAPTURED_AT"] == "TIMESTAMP_TZ(9)"
    assert kinds["BALANCE"] == "NUMBER(18,6)"
    assert kinds["CREDIT_SMS"] == "NUMBER(38,0)"


def test_airflows_own_hook_leads_there(snowflake: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("airflow.providers.snowflake")
    from airflow_provider_smspartner.sql.engine import make_engine

    connection = {
        "conn_type": "snowflake",
        "login": "anna",
        "password": "s3cr3t/@",
        "schema": "PUBLIC",
        "extra": {"account": "account", "database": "ANALYTICS"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(connection))
    engine = make_engine("warehouse")
    assert engine.dialect.name == "snowflake"
    assert engine.hide_parameters
    write_snapshots(engine, snapshot_table("credits"), [SNAPSHOT])
    engine.dispose()
    assert execute(snowflake, "SELECT credit_sms FROM credits") == [(5,)]
