"""What a campaign needs, as the page "Gate a campaign" computes it, and the examples that the guides show."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag

ROOT = Path(__file__).parents[2]
PARTS = list(csv.DictReader((ROOT / "docs" / "parts.csv").open()))
PAGE = (ROOT / "docs" / "gate-a-campaign.rst").read_text()


@pytest.fixture(scope="module")
def examples(airflow_db: None) -> DagBag:
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(ROOT / "example_dags", bundle_name="dags-folder")


@pytest.fixture
def sms_parts(examples: DagBag) -> Callable[[str], int]:
    return examples.dags["smspartner_campaign_cost"].get_task("cost").python_callable.__globals__["sms_parts"]


@pytest.mark.parametrize(("column", "letter"), [("plain text", "a"), ("Unicode", "ж")])
def test_the_table_of_parts_is_what_the_example_computes(sms_parts: Any, column: str, letter: str) -> None:
    computed = {row["characters"]: told(sms_parts, letter * int(row["characters"])) for row in PARTS}
    assert computed == {row["characters"]: row[column] for row in PARTS}


def test_low_cost_takes_one_part(sms_parts: Any) -> None:
    alone = {row["characters"]: told(sms_parts, "a" * int(row["characters"])) == "1" for row in PARTS}
    assert alone == {row["characters"]: row["low cost"] == "1" for row in PARTS}


def told(sms_parts: Callable[[str], int], text: str) -> str:
    try:
        return str(sms_parts(text))
    except ValueError:
        return "refused"


@pytest.mark.parametrize(
    ("character", "fit_one"),
    [("é", 160), ("ê", 70), ("\N{RIGHT SINGLE QUOTATION MARK}", 70), ("€", 80), ("🎁", 35)],
)
def test_a_character_takes_the_places_that_the_page_says(sms_parts: Any, character: str, fit_one: int) -> None:
    assert sms_parts(character * fit_one) == 1
    assert sms_parts(character * (fit_one + 1)) == 2


def test_one_character_makes_the_whole_text_unicode(sms_parts: Any) -> None:
    assert sms_parts("a" * 71) == 1
    assert sms_parts("a" * 70 + "ê") == 2


def hurry(gate: Any) -> None:
    gate.poke_interval = 0.05
    gate.timeout = 120  # the example's hours would hold the suite up


def test_the_campaign_abroad_waits_for_the_amount_in_the_table(
    examples: DagBag, connect: Any, run_dag: Any, once_it_waits: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    dag = examples.dags["smspartner_campaign_cost"]
    hurry(dag.get_task("wait_for_budget"))
    with SMSPartnerSandbox(balance="152.00") as sandbox:  # which reports 4,000 SMS
        connect(sandbox)
        with once_it_waits(sandbox, lambda: sandbox.top_up("38.00")):
            run = run_dag(dag)
    assert run.state == "success"
    assert "152.000 EUR balance available, 190.000 needed: not enough" in capfd.readouterr().out
    cost = run.get_task_instance("cost").xcom_pull("cost")
    rows = re.findall(r"^(\w+) +(\d+) +(\d) +(\d+) +(0\.\d+) +([\d.]+)$", PAGE, re.MULTILINE)
    assert [int(sms) for _, _, _, sms, _, _ in rows] == list(cost["sms"].values())
    assert {int(parts) for _, _, parts, _, _, _ in rows} == {cost["parts"]}
    assert [price for *_, price, _ in rows] == list(dag.params["prices"].values())
    assert re.search(rf"^together +2000 +4000 +{re.escape(cost['amount'])}$", PAGE, re.MULTILINE)
    assert sum(float(amount) for *_, amount in rows) == float(cost["amount"])


def test_the_stop_mention_takes_the_places_that_the_page_says(examples: DagBag) -> None:
    params = examples.dags["smspartner_campaign_cost"].params
    bare = params["text"]
    assert f"from {len(bare)} characters to {len(bare + params['stop_mention'])}" in PAGE


def test_the_first_gate_opens_once_the_credit_is_there(
    examples: DagBag, connect: Any, run_dag: Any, once_it_waits: Any
) -> None:
    dag = examples.dags["smspartner_first_gate"]
    hurry(dag.get_task("enough_credit"))
    with SMSPartnerSandbox(balance="100") as sandbox:
        connect(sandbox)
        with once_it_waits(sandbox, lambda: sandbox.top_up("100")):
            assert run_dag(dag).state == "success"


def test_the_account_is_asked_in_tasks_of_ones_own(
    sandbox: SMSPartnerSandbox, examples: DagBag, connect: Any, run_dag: Any
) -> None:
    connect(sandbox, max_retries=0)
    sandbox.fail_next(http_status=503)
    asked = {}
    for task_id in ("is_reachable", "report"):
        asked[task_id] = examples.dags["smspartner_ask_account"].get_task(task_id).python_callable()
    assert asked == {"is_reachable": False, "report": "10225.119 EUR left, which buys 269082 SMS"}
    assert run_dag(examples.dags["smspartner_ask_account"]).state == "success"


def test_the_figures_of_a_snapshot_travel_by_the_event_of_an_asset(
    sandbox: SMSPartnerSandbox,
    examples: DagBag,
    connect: Any,
    run_dag: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session

    connect(sandbox)
    warehouse = {"conn_type": "sqlite", "host": str(tmp_path / "warehouse.db")}
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(warehouse))
    assert run_dag(examples.dags["smspartner_credit_producer"]).state == "success"
    with create_session() as session:
        (event,) = session.query(AssetEvent).filter_by(source_dag_id="smspartner_credit_producer").all()
    consumer = examples.dags["smspartner_credit_consumer"]
    tell = consumer.get_task("tell").python_callable
    (asset,) = consumer.timetable.asset_condition.objects
    events = {asset: [SimpleNamespace(extra=event.extra)]}
    assert tell(triggering_asset_events=events) == ["smspartner_default: 10225.119 EUR"]
