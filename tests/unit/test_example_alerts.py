"""The example DAGs that tell a person, over a real mail server, and the one that asks a person."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiosmtpd.controller import Controller

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from tests.airflow_versions import needs_airflow, open_dag_bag
from tests.daily_snapshots import take_daily_snapshots
from tests.system.airflow import free_port

if TYPE_CHECKING:
    from airflow.models import DagBag

EXAMPLES = Path(__file__).parents[2] / "example_dags"
Mailbox = list[EmailMessage]


@pytest.fixture(scope="module")
def examples(airflow_db: None) -> DagBag:
    return open_dag_bag(EXAMPLES)


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    """Take the mails that Airflow sends over smtp_default."""
    mails: Mailbox = []

    class Keep:
        async def handle_DATA(self, _: object, __: object, envelope: Any) -> str:  # noqa: N802  # aiosmtpd's
            mails.append(message_from_bytes(envelope.content, policy=policy.default))
            return "250 OK"

    port = free_port()  # as this server takes no 0 for any
    server = Controller(Keep(), hostname="127.0.0.1", port=port)
    server.start()
    connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": port}
    extra = {"disable_ssl": True, "disable_tls": True}
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection | {"extra": extra}))
    yield mails
    server.stop()


def text_of(mail: EmailMessage) -> str:
    body = mail.get_body(("html",))
    assert body is not None
    return str(body.get_content())


def test_low_credit_and_a_forecast_are_mailed_with_what_is_missing_until_when_and_where_to_buy(
    connect: Any, examples: DagBag, mailbox: Mailbox, run_dag: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse = tmp_path / "warehouse.db"
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(warehouse)}))
    take_daily_snapshots(warehouse, smspartner_default=(90, 60, 30))
    with SMSPartnerSandbox("20.50") as sandbox:
        connect(sandbox)
        assert run_dag(examples.dags["smspartner_credit_alerts"]).state == "success"
        low, runs_out = sorted(mailbox, key=lambda mail: mail["Subject"], reverse=True)
        assert (low["Subject"], low["To"]) == ("SMS Partner: 29.500 EUR are missing", "marketing@example.com")
        assert "20.500 EUR balance available, 50 needed: not enough" in text_of(low)
        assert runs_out["Subject"].startswith("Credit of smspartner_default until 20")
        assert "1.0 days are left, at 30.00 a day." in text_of(runs_out)
        assert all("Buy credit: https://my.smspartner.fr/connexion" in text_of(mail) for mail in mailbox)

        sandbox.top_up("100")
        take_daily_snapshots(warehouse, smspartner_default=(1_000, 999, 998))
        mailbox.clear()
        assert run_dag(examples.dags["smspartner_credit_alerts"]).state == "success"
        assert mailbox == []


def test_a_campaign_that_waits_in_vain_is_mailed_with_what_it_lacks(
    connect: Any, examples: DagBag, mailbox: Mailbox, run_dag: Any
) -> None:
    dag = examples.dags["smspartner_campaign_with_alert"]
    gate = dag.get_task("wait_for_credit")
    gate.timeout, gate.poke_interval = 0.1, 0.05
    with SMSPartnerSandbox("100.00") as sandbox:
        connect(sandbox)
        assert run_dag(dag).state == "failed"
    (mail,) = mailbox
    assert mail["Subject"] == "smspartner_campaign_with_alert does not start: it lacks 1369 sms"
    assert "2631 sms available, 4000 needed: not enough" in text_of(mail)


def test_a_campaign_that_needs_action_is_mailed_with_what_to_do(
    sandbox: SMSPartnerSandbox, connect: Any, examples: DagBag, mailbox: Mailbox, run_dag: Any
) -> None:
    connect(sandbox, api_key="wrong")
    assert run_dag(examples.dags["smspartner_campaign_with_alert"]).state == "failed"
    (mail,) = mailbox
    assert mail["Subject"] == "smspartner_campaign_with_alert needs action"
    assert "check the connection&#x27;s API key (code 10)" in text_of(mail)


@needs_airflow(3, 1, for_the_sake_of="tasks that ask a person")
@pytest.mark.parametrize(("recipients", "then"), [(4000, "ask"), (1000, "send")])
def test_a_person_is_asked_where_a_campaign_is_short(
    connect: Any, examples: DagBag, recipients: int, then: str
) -> None:
    dag = examples.dags["smspartner_ask_a_person"]
    call: Callable[[str], Callable[..., Any]] = lambda task: dag.get_task(task).python_callable  # noqa: E731
    with SMSPartnerSandbox("100.00") as sandbox:
        connect(sandbox)
        compared = call("compare")({"recipients": recipients, "sms_per_recipient": 2})
    missing = max(2 * recipients - 2631, 0)
    assert compared == {"needed": 2 * recipients, "missing": missing, "payable": 1315}
    assert call("is_it_short")(compared) == then
    # An account that does not report its SMS is unknown, and nobody sends on a guess.
    assert call("is_it_short")(compared | {"missing": None}) == "ask"


@needs_airflow(3, 1, for_the_sake_of="tasks that ask a person")
def test_each_answer_leads_to_a_task_of_its_own(examples: DagBag) -> None:
    ask: Any = examples.dags["smspartner_ask_a_person"].get_task("ask")
    assert set(ask.options_mapping.values()) == ask.downstream_task_ids == {"wait_for_credit", "cut", "cancelled"}
    assert set(ask.options_mapping) == set(ask.options)
    assert ask.defaults == ["Cancel it"]
