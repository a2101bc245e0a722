from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import Asset

from airflow_provider_smspartner.exceptions import SMSPartnerArgumentError, SMSPartnerConfigurationError
from airflow_provider_smspartner.operators.forecast import CreditsForecastOperator
from tests.airflow_versions import needs_a_hash_of_assets
from tests.daily_snapshots import take_daily_snapshots


@pytest.fixture
def warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "warehouse.db"
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(path)}))
    return path


def context() -> Any:
    return {"outlet_events": defaultdict(lambda: SimpleNamespace(extra={}))}


def forecast(**arguments: Any) -> CreditsForecastOperator:
    return CreditsForecastOperator(task_id="forecast", sql_conn_id="warehouse", **arguments)


def test_each_account_is_foreseen_in_the_order_asked_for(warehouse: Path) -> None:
    take_daily_snapshots(warehouse, paris=(30, 20, 10))
    take_daily_snapshots(warehouse, lyon=(30, 29, 28, 28))
    told = forecast(smspartner_conn_id=["lyon", "paris", "nobody"]).execute(context())
    assert json.loads(json.dumps(told)) == told
    assert [(one["smspartner_conn_id"], one["days_left"], one["unknown"]) for one in told] == [
        ("lyon", 42.0, None),
        ("paris", 1.0, None),
        ("nobody", None, "no known reading in this time"),
    ]
    assert [one["credit"] for one in told] == ["28.000000", "10.000000", None]


@needs_a_hash_of_assets
def test_the_events_of_outlets_carry_the_same(warehouse: Path) -> None:
    take_daily_snapshots(warehouse, smspartner_default=(30, 20, 10))
    asset, happening = Asset("forecast"), context()
    told = forecast(outlets=[asset]).execute(happening)
    assert happening["outlet_events"][asset].extra["forecasts"] == told


def test_the_rate_is_that_of_the_days_asked_for(warehouse: Path) -> None:
    take_daily_snapshots(warehouse, smspartner_default=(100, 60, 59, 58, 57))
    assert [one["per_day"] for days in (3, "7") for one in forecast(days=days).execute(context())] == ["1.00", "10.75"]


def test_a_count_is_foreseen_where_it_is_asked_for(warehouse: Path) -> None:
    take_daily_snapshots(warehouse, smspartner_default=(30, 20, 10))
    (told,) = forecast(credit_type="sms").execute(context())
    assert (told["credit"], told["per_day"], told["currency"], told["credit_type"]) == (100, "100.00", None, "sms")


def test_another_table_is_read(warehouse: Path) -> None:
    take_daily_snapshots(warehouse, smspartner_default=(30, 20, 10), table="My Credits")
    (told,) = forecast(table="My Credits", schema="main").execute(context())
    assert told["days_left"] == 1.0


def test_a_table_that_is_not_there_is_told_without_a_task_retry(warehouse: Path) -> None:
    with pytest.raises(SMSPartnerConfigurationError, match=r"'warehouse', table '.*': it is not there: let a Credits"):
        forecast().execute(context())


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ({"days": 0}, "days is 0: use a whole number from 1 to 366"),
        ({"days": 367}, "days is 367: use a whole number from 1 to 366"),
        ({"days": 1.5}, "days is 1.5: use a whole number"),
        ({"credit_type": "euros"}, "credit_type is 'euros': use one of"),
    ],
)
def test_what_makes_no_sense_is_refused_while_the_dag_is_parsed(argument: dict[str, Any], told: str) -> None:
    with pytest.raises(SMSPartnerArgumentError, match=told):
        forecast(**argument)


@pytest.mark.parametrize("argument", [{"days": "{{ 0 }}"}, {"credit_type": "{{ 'x' }}"}, {"smspartner_conn_id": []}])
def test_what_a_template_rendered_is_refused_when_the_task_runs(warehouse: Path, argument: dict[str, Any]) -> None:
    operator = forecast(**argument)
    operator.render_template_fields({})
    with pytest.raises(SMSPartnerArgumentError):
        operator.execute(context())
