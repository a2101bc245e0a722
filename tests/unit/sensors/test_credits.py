"""The sensor, in real tasks of a real Airflow, against the sandbox."""

from __future__ import annotations

import re
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowException, TaskDeferred, task

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from airflow_provider_smspartner.sensors.credits import CreditsSensor
from tests.airflow_versions import AIRFLOW

QUICK = {"poke_interval": 0.05, "timeout": 20}
MODES = pytest.mark.parametrize(
    "mode", [{"mode": "poke"}, {"mode": "reschedule"}, {"deferrable": True}], ids=["poke", "reschedule", "deferrable"]
)


pytestmark = pytest.mark.usefixtures("in_a_hurry")


@MODES
def test_a_campaign_is_held_until_the_account_can_pay(
    sandbox: SMSPartnerSandbox, connect: Any, run_task: Any, once_it_waits: Any, mode: dict[str, Any]
) -> None:
    connect(sandbox)
    with once_it_waits(sandbox, lambda: sandbox.top_up("1000")):
        outcome = run_task(CreditsSensor, min_credits=290_000, **mode, **QUICK)
    assert outcome.state == "success"
    assert sandbox.requests >= 3
    assert "269082 sms available, 290000 needed: not enough" in outcome.log
    assert "295397 sms available, 290000 needed: enough" in outcome.log


@MODES
def test_its_xcom_is_the_reading_that_let_it_pass(
    sandbox: SMSPartnerSandbox, connect: Any, run_task: Any, mode: dict[str, Any]
) -> None:
    connect(sandbox)
    outcome = run_task(CreditsSensor, min_credits=Decimal("10225.119"), credit_type="balance", **mode, **QUICK)
    fetched_at = outcome.xcom.pop("fetched_at")
    assert fetched_at.endswith("+00:00")
    assert outcome.xcom == {
        "sms": 269082,
        "sms_low_cost": 444570,
        "hlr": 2045023,
        "to_send": 0,
        "balance": "10225.119",
        "currency": "EUR",
    }


@MODES
def test_a_wrong_key_fails_the_first_poke_without_task_retries(
    sandbox: SMSPartnerSandbox, connect: Any, run_task: Any, mode: dict[str, Any]
) -> None:
    connect(sandbox, "marketing", api_key="wrong-key")
    outcome = run_task(CreditsSensor, min_credits=1, smspartner_conn_id="marketing", **mode, retries=3, **QUICK)
    assert (outcome.state, outcome.tries, sandbox.requests) == ("failed", 1, 1)
    assert "SMS Partner connection 'marketing'" in outcome.log
    assert "check the connection's API key" in outcome.log


@MODES
@pytest.mark.parametrize("fault", [{"http_status": 404}, {"http_status": 403}])
def test_an_error_that_needs_a_person_fails_at_once_without_task_retries(
    sandbox: SMSPartnerSandbox, connect: Any, run_task: Any, mode: dict[str, Any], fault: dict[str, Any]
) -> None:
    connect(sandbox)
    sandbox.fail_next(times=None, **fault)
    outcome = run_task(CreditsSensor, min_credits=1, **mode, retries=3, **QUICK)
    assert (outcome.state, outcome.tries, sandbox.requests) == ("failed", 1, 1)


@MODES
@pytest.mark.parametrize("fault", [{"http_status": 503}, {"drop": True}, {"july_gateway": True}])
def test_an_error_that_time_may_heal_is_a_warning_and_not_yet(
    sandbox: SMSPartnerSandbox,
    connect: Any,
    run_task: Any,
    once_it_waits: Any,
    mode: dict[str, Any],
    fault: dict[str, Any],
) -> None:
    connect(sandbox, max_retries=0)
    sandbox.fail_next(times=None, **fault)
    with once_it_waits(sandbox, sandbox.recover):
        outcome = run_task(CreditsSensor, min_credits=1, **mode, **QUICK)
    assert (outcome.state, outcome.tries) == ("success", 1)
    assert re.search(r"(?i)warning.* No reading, not yet: SMS Partner connection 'smspartner_default'", outcome.log)


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_a_gate_that_waits_too_long_times_out(
    sandbox: SMSPartnerSandbox, connect: Any, run_task: Any, mode: str
) -> None:
    connect(sandbox)
    outcome = run_task(CreditsSensor, min_credits=10**9, poke_interval=0.05, timeout=0.2, mode=mode)
    assert outcome.state == "failed"
    assert "AirflowSensorTimeout" in outcome.log


def test_a_deferred_gate_hands_its_timeout_to_the_triggerer(sandbox: SMSPartnerSandbox, connect: Any) -> None:
    connect(sandbox)
    sensor = CreditsSensor(task_id="gate", min_credits=10**9, deferrable=True, timeout=timedelta(hours=3))
    with pytest.raises(TaskDeferred) as deferral:
        sensor.poke({})
    assert deferral.value.timeout == timedelta(hours=3)
    assert deferral.value.trigger.poke_interval == 60
    assert sandbox.requests == 1


@MODES
@pytest.mark.parametrize("forgiving", ["soft_fail", "never_fail"])
@pytest.mark.parametrize("when", ["at once", "while it waits"])
def test_a_forgiving_gate_skips_on_an_error_that_needs_a_person(
    sandbox: SMSPartnerSandbox,
    connect: Any,
    run_task: Any,
    once_it_waits: Any,
    mode: dict[str, Any],
    forgiving: str,
    when: str,
) -> None:
    if AIRFLOW < (3, 1) and (forgiving, when) == ("never_fail", "while it waits") and "deferrable" in mode:
        pytest.skip("Airflow before 3.1 forgets never_fail when a deferred task comes back")
    connect(sandbox)
    if when == "at once":
        sandbox.fail_next(http_status=401)
    with once_it_waits(sandbox, lambda: sandbox.fail_next(http_status=401)) if when != "at once" else nullcontext():
        outcome = run_task(CreditsSensor, min_credits=10**9, **mode, **{forgiving: True}, **QUICK)
    assert outcome.state == "skipped"


@MODES
def test_an_error_that_needs_a_person_ends_the_wait_without_task_retries(
    sandbox: SMSPartnerSandbox, connect: Any, run_task: Any, once_it_waits: Any, mode: dict[str, Any]
) -> None:
    connect(sandbox)
    blocked = {"success": False, "code": 30}
    with once_it_waits(sandbox, lambda: sandbox.fail_next(times=None, body=blocked)):
        outcome = run_task(CreditsSensor, min_credits=10**9, retries=3, **mode, **QUICK)
    assert (outcome.state, outcome.tries) == ("failed", 1)
    assert "SMSPartnerAccessError: SMS Partner connection 'smspartner_default': " in outcome.log
    assert "SMS Partner has blocked this account" in outcome.log


@pytest.mark.parametrize("event", [None, {}, {"status": "done"}, "met"])
def test_an_event_that_the_sensor_does_not_know_fails_loudly(event: Any) -> None:
    with pytest.raises(AirflowException, match="does not know"):
        CreditsSensor(task_id="gate", min_credits=1).execute_complete({}, event)


def test_credit_that_the_account_does_not_report_is_waited_for_and_said_to_be_unknown(
    sandbox: SMSPartnerSandbox, connect: Any, run_task: Any
) -> None:
    connect(sandbox)
    sandbox.fail_next(times=2, body={"success": True, "code": 200, "credits": {"creditHlr": 5}})
    outcome = run_task(CreditsSensor, min_credits=0, **QUICK)
    assert (outcome.state, sandbox.requests) == ("success", 3)
    assert "does not report 'sms', which is unknown and not 0" in outcome.log


@pytest.mark.parametrize("needed", [5000, "5000"])
def test_what_is_needed_may_come_from_an_upstream_task(
    sandbox: SMSPartnerSandbox, connect: Any, run_dag: Any, needed: int | str, task_log: Any
) -> None:
    connect(sandbox, "from_upstream")
    with DAG(f"upstream_{type(needed).__name__}", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:

        @task
        def audience() -> dict[str, Any]:
            return {"count": needed, "account": "from_upstream"}

        found = audience()
        templated = CreditsSensor(
            task_id="templated",
            min_credits="{{ ti.xcom_pull('audience')['count'] }}",
            smspartner_conn_id="{{ ti.xcom_pull('audience')['account'] }}",
        )
        by_xcom = CreditsSensor(task_id="by_xcom", min_credits=found["count"], smspartner_conn_id="from_upstream")
        found >> templated >> by_xcom
    assert run_dag(dag).state == "success"
    assert "269082 sms available, 5000 needed: enough" in task_log()


@pytest.mark.parametrize("rendered", ["None", "-5", "many", "1.5"])
def test_a_minimum_that_renders_to_nonsense_fails_without_task_retries_or_a_request(
    sandbox: SMSPartnerSandbox, connect: Any, run_task: Any, rendered: str
) -> None:
    connect(sandbox)
    outcome = run_task(CreditsSensor, min_credits=f"{{{{ '{rendered}' }}}}", retries=3)
    assert (outcome.state, outcome.tries, sandbox.requests) == ("failed", 1, 0)
    assert f"min_credits is '{rendered}'" in outcome.log


@pytest.mark.parametrize(
    "arguments",
    [
        {"min_credits": -1},
        {"min_credits": "-1"},
        {"min_credits": "many"},
        {"min_credits": 1.5},
        {"min_credits": Decimal("1.5")},
        {"min_credits": "{{ x }}", "credit_type": "creditSms"},
        {"min_credits": "{{ x }}", "credit_type": "balance", "subtract_pending": True},
    ],
)
def test_nonsense_is_refused_while_the_dag_is_parsed_where_it_is_known_by_then(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="min_credits is|credit_type is|subtract_pending counts"):
        CreditsSensor(task_id="gate", **arguments)


def test_it_maps_over_accounts(sandbox: SMSPartnerSandbox, connect: Any, run_dag: Any) -> None:
    conn_ids = [connect(sandbox, f"account_{number}") for number in range(3)]
    with DAG("mapped_gates", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        CreditsSensor.partial(task_id="gate", min_credits=1).expand(smspartner_conn_id=conn_ids)
    assert run_dag(dag).state == "success"
    assert sandbox.requests == 3


def test_a_poke_leaves_nothing_on_the_sensor(sandbox: SMSPartnerSandbox, connect: Any) -> None:
    connect(sandbox)
    sensor = CreditsSensor(task_id="gate", min_credits=10**9)
    before = dict(vars(sensor))
    sensor.poke({})
    left = {name: value for name, value in vars(sensor).items() if name not in {"_cached_logger", "_log"}}  # Airflow's
    assert left == before
