"""The sensor, in real tasks of a real Airflow, against the sandbox."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from time import monotonic
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    DAG,
    AirflowException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
    task,
)

from airflow_provider_smspartner.exceptions import (
    SMSPartnerAccessError,
    SMSPartnerArgumentError,
    SMSPartnerConfigurationError,
)
from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from airflow_provider_smspartner.sensors.credits import CreditsSensor
from airflow_provider_smspartner.triggers.credits import CreditsTrigger
from tests.airflow_versions import AIRFLOW
from tests.vault import Vault

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
def test_a_secrets_backend_that_is_away_for_a_moment_ends_no_wait(
    sandbox: SMSPartnerSandbox, vault: type[Vault], run_task: Any, mode: dict[str, Any]
) -> None:
    def for_a_moment() -> Iterator[Exception]:
        end = monotonic() + 0.2
        while monotonic() < end:
            yield ConnectionError("sealed")

    vault.holds["smspartner_default"] = sandbox.connection_json()
    vault.failures = for_a_moment()
    outcome = run_task(CreditsSensor, min_credits=1, **mode, **QUICK)
    assert (outcome.state, sandbox.requests) == ("success", 1)
    assert "waits on: SMS Partner connection 'smspartner_default': Airflow could not look it up (" in outcome.log


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
def test_a_permanent_error_fails_at_once_without_task_retries(
    sandbox: SMSPartnerSandbox, connect: Any, run_task: Any, mode: dict[str, Any], fault: dict[str, Any]
) -> None:
    connect(sandbox)
    sandbox.fail_next(times=None, **fault)
    outcome = run_task(CreditsSensor, min_credits=1, **mode, retries=3, **QUICK)
    assert (outcome.state, outcome.tries, sandbox.requests) == ("failed", 1, 1)


@MODES
@pytest.mark.parametrize("fault", [{"http_status": 503}, {"drop": True}, {"july_gateway": True}])
def test_a_transient_error_is_a_warning_and_the_gate_waits_on(
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
    assert re.search(
        r"(?i)warning.* Transient error, the gate waits on: SMS Partner connection 'smspartner_default'", outcome.log
    )


IN_TIME = {"min_credits": 10**9, "poke_interval": 0.05, "timeout": 0.2}


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
@pytest.mark.parametrize(
    ("ending", "state"),
    [({}, "failed"), ({"never_fail": True}, "failed"), ({"soft_fail": True}, "skipped")],
    ids=str,
)
def test_a_gate_that_waits_too_long_times_out(
    sandbox: SMSPartnerSandbox, connect: Any, run_task: Any, mode: str, ending: dict[str, bool], state: str
) -> None:
    connect(sandbox)
    outcome = run_task(CreditsSensor, mode=mode, retries=3, **IN_TIME, **ending)
    assert (outcome.state, outcome.tries) == (state, 1)
    assert "Sensor has timed out" in outcome.log


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_a_gate_whose_time_is_over_is_skipped_where_that_is_asked_for(
    sandbox: SMSPartnerSandbox, connect: Any, run_task: Any, mode: str
) -> None:
    connect(sandbox)
    outcome = run_task(CreditsSensor, mode=mode, skip_on_timeout=True, **IN_TIME)
    assert outcome.state == "skipped"
    assert "Time is over, and skip_on_timeout is set: Sensor has timed out" in outcome.log


def deferred(**arguments: Any) -> CreditsSensor:
    return CreditsSensor(**{"task_id": "gate", "min_credits": 10**9, "deferrable": True} | arguments)


TRIGGER_TIMED_OUT = {"next_method": "__fail__", "next_kwargs": {"error": "Trigger timeout"}, "context": {}}


@pytest.mark.parametrize(
    ("ending", "raised"),
    [
        ({}, AirflowSensorTimeout),
        ({"soft_fail": True}, AirflowSkipException),
        ({"skip_on_timeout": True}, AirflowSkipException),
    ],
    ids=str,
)
def test_a_deferred_gate_whose_time_is_over_ends_as_one_on_a_worker(
    ending: dict[str, bool], raised: type[Exception], task_log: Any
) -> None:
    with pytest.raises(raised):
        deferred(timeout=7200, **ending).resume_execution(**TRIGGER_TIMED_OUT)
    assert re.search("(?i)error.* The gate has timed out: it did not open within 2:00:00 in the triggerer", task_log())


def test_an_execution_timeout_on_a_worker_is_time_that_is_over_too(
    sandbox: SMSPartnerSandbox, connect: Any, run_task: Any
) -> None:
    connect(sandbox)
    limited = {"min_credits": 10**9, "poke_interval": 60, "execution_timeout": timedelta(seconds=1)}
    assert run_task(CreditsSensor, **limited, skip_on_timeout=True).state == "skipped"
    if AIRFLOW >= (3, 0):  # before, such a timeout ends dag.test(), too
        assert run_task(CreditsSensor, **limited).state == "failed"


@pytest.mark.parametrize(
    ("timeout", "execution_timeout", "patience"),
    [(7200, None, 7200), (7200, timedelta(hours=1), 3600), (timedelta(hours=1), timedelta(hours=2), 3600)],
)
def test_a_deferred_gate_waits_no_longer_than_the_shorter_of_its_two_limits(
    sandbox: SMSPartnerSandbox, connect: Any, timeout: Any, execution_timeout: timedelta | None, patience: int
) -> None:
    connect(sandbox)
    with pytest.raises(TaskDeferred) as deferral:
        deferred(timeout=timeout, execution_timeout=execution_timeout).poke({})
    assert deferral.value.timeout == timedelta(seconds=patience)
    assert sandbox.requests == 1


def test_a_deferred_gate_asks_in_the_triggerer_exactly_what_it_asked_on_its_worker(
    sandbox: SMSPartnerSandbox, connect: Any
) -> None:
    connect(sandbox, "marketing")
    gate = deferred(
        min_credits="500000",
        credit_type="sms_low_cost",
        subtract_pending=True,
        smspartner_conn_id="marketing",
        poke_interval=timedelta(minutes=5),
    )
    with pytest.raises(TaskDeferred) as deferral:
        gate.poke({})
    assert deferral.value.method_name == "execute_complete"
    assert deferral.value.trigger.serialize()[1] == {
        "min_credits": 500_000,
        "credit_type": "sms_low_cost",
        "subtract_pending": True,
        "smspartner_conn_id": "marketing",
        "poke_interval": 300.0,
        "direction": "at_least",
        "rearm_margin": 0,
        "once": True,
        "report_unreadable": False,
    }


@pytest.mark.parametrize(("configured", "defers"), [("True", True), ("False", False), (None, False)])
def test_a_gate_defers_where_the_configuration_says_so(
    monkeypatch: pytest.MonkeyPatch, configured: str | None, defers: bool
) -> None:
    if configured is not None:
        monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", configured)
    assert CreditsSensor(task_id="gate", min_credits=1).deferrable is defers
    assert CreditsSensor(task_id="gate", min_credits=1, deferrable=not defers).deferrable is not defers


FORGIVING = pytest.mark.parametrize(
    ("forgiving", "state"), [("soft_fail", "skipped"), ("never_fail", "skipped"), ("skip_on_timeout", "failed")]
)


def is_told_as_error(sentence: str, log: str) -> bool:
    """Return whether a line at ERROR begins with a sentence, behind what Airflow 2 writes before each."""
    return bool(re.search(rf"(?i)\berror\b\W+(\S+:gate\.py:\d+ )?{sentence}", log))


def what_to_do(log: str) -> bool:
    """Return whether a line at ERROR names the connection, and another one begins with the sentence that decides."""
    names_it = "SMS Partner connection 'smspartner_default': permanent error, needs action:"
    return is_told_as_error(names_it, log) and is_told_as_error("SMS Partner refuses access", log)


@MODES
@FORGIVING
def test_a_permanent_error_says_what_to_do_whatever_becomes_of_the_task(
    sandbox: SMSPartnerSandbox,
    connect: Any,
    run_task: Any,
    once_it_waits: Any,
    mode: dict[str, Any],
    forgiving: str,
    state: str,
) -> None:
    if AIRFLOW < (3, 1) and forgiving == "never_fail" and "deferrable" in mode:
        pytest.skip("Airflow before 3.1 forgets never_fail when a deferred task comes back")
    connect(sandbox)
    with once_it_waits(sandbox, lambda: sandbox.fail_next(http_status=401)):
        outcome = run_task(CreditsSensor, min_credits=10**9, **mode, **{forgiving: True}, **QUICK)
    assert outcome.state == state
    assert what_to_do(outcome.log)


@FORGIVING
@pytest.mark.parametrize("mode", [{"mode": "poke"}, {"deferrable": True}], ids=["poke", "deferrable"])
def test_a_permanent_error_of_the_first_reading_says_what_to_do_too(
    sandbox: SMSPartnerSandbox, connect: Any, task_log: Any, mode: dict[str, Any], forgiving: str, state: str
) -> None:
    connect(sandbox)
    sandbox.fail_next(http_status=401)
    raised = AirflowSkipException if state == "skipped" else SMSPartnerAccessError
    with pytest.raises(raised):
        CreditsSensor(task_id="gate", min_credits=1, **mode, **{forgiving: True}).execute({})
    assert what_to_do(task_log())


@MODES
def test_a_permanent_error_ends_the_wait_without_task_retries(
    sandbox: SMSPartnerSandbox, connect: Any, run_task: Any, once_it_waits: Any, mode: dict[str, Any]
) -> None:
    connect(sandbox)
    blocked = {"success": False, "code": 30}
    with once_it_waits(sandbox, lambda: sandbox.fail_next(times=None, body=blocked)):
        outcome = run_task(CreditsSensor, min_credits=10**9, retries=3, **mode, **QUICK)
    assert (outcome.state, outcome.tries) == ("failed", 1)
    assert "SMSPartnerAccessError: SMS Partner connection 'smspartner_default': " in outcome.log
    assert "SMS Partner has blocked this account" in outcome.log


@pytest.mark.parametrize(
    "event",
    [None, {}, {"status": "done"}, "met", {"status": "met"}, {"status": "error"}, {"status": "met", "reading": 5}],
)
def test_an_event_that_the_sensor_does_not_know_fails_loudly(event: Any, task_log: Any) -> None:
    with pytest.raises(SMSPartnerConfigurationError, match="does not know: install the same version"):
        CreditsSensor(task_id="gate", min_credits=1).execute_complete({}, event)
    assert is_told_as_error("the triggerer sent an event", task_log())


async def test_a_gate_whose_trigger_refuses_its_arguments_fails_without_task_retries_and_says_why(
    task_log: Any,
) -> None:
    """Worker and triggerer may have different versions, of which the triggerer's is the stricter one."""
    with pytest.raises(TypeError) as refusal:
        CreditsTrigger(min_credits="{{ params.n }}")
    kept = {"error": "Trigger failure", "traceback": traceback.format_exception(refusal.value)}
    with pytest.raises(SMSPartnerArgumentError, match=r"min_credits is '\{\{ params.n \}\}'"):
        deferred().resume_execution("__fail__", kept, {})
    assert is_told_as_error(r"min_credits is '\{\{ params.n \}\}'", task_log())


def test_a_trigger_that_fails_for_another_reason_fails_its_gate_as_airflow_has_it() -> None:
    kept = {"error": "Trigger failure", "traceback": ["ModuleNotFoundError: No module named 'x'"]}
    for kept_of_it in (kept, None):
        with pytest.raises(AirflowException, match="Trigger failure|Unknown") as failure:
            deferred().resume_execution("__fail__", kept_of_it, {})
        assert type(failure.value).__name__ == "TaskDeferralError"


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


@pytest.mark.parametrize("rendered", ["None", "-5", "many", "1,000"])
def test_a_minimum_that_renders_to_nonsense_fails_without_task_retries_or_a_request(
    sandbox: SMSPartnerSandbox, connect: Any, run_task: Any, rendered: str
) -> None:
    connect(sandbox)
    outcome = run_task(CreditsSensor, min_credits=f"{{{{ '{rendered}' }}}}", retries=3)
    assert (outcome.state, outcome.tries, sandbox.requests) == ("failed", 1, 0)
    assert is_told_as_error(f"min_credits is '{rendered}'", outcome.log)


def test_every_template_is_rendered_and_read(
    sandbox: SMSPartnerSandbox, connect: Any, run_dag: Any, task_log: Any
) -> None:
    connect(sandbox, "marketing")
    with DAG("templates", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        CreditsSensor(
            task_id="text",
            min_credits="{{ 2631 * 0.1 }}",
            credit_type="{{ 'sms_low_cost' }}",
            subtract_pending="{{ 1 == 1 }}",
            smspartner_conn_id="{{ 'marketing' }}",
        )
    assert run_dag(dag).state == "success"
    assert "444570 sms_low_cost available (0 pending subtracted), 264 needed: enough" in task_log()


def test_native_values_of_templates_are_read_as_they_are(
    sandbox: SMSPartnerSandbox, connect: Any, run_dag: Any, task_log: Any
) -> None:
    connect(sandbox)
    native = {"schedule": None, "start_date": datetime(2026, 1, 1, tzinfo=UTC), "render_template_as_native_obj": True}
    with DAG("native_templates", params={"amount": "150.50", "pending": False}, **native) as dag:
        CreditsSensor(
            task_id="native",
            min_credits="{{ params.amount }}",
            credit_type="{{ 'balance' }}",
            subtract_pending="{{ params.pending }}",
        )
    assert run_dag(dag).state == "success"
    assert "10225.119 EUR balance available, 150.5 needed: enough" in task_log()


@pytest.mark.parametrize(
    ("rendered", "told"),
    [
        ({"credit_type": "{{ 'creditSms' }}"}, "credit_type is 'creditSms'"),
        ({"credit_type": "{{ 'hlr' }}", "subtract_pending": True}, "subtract_pending counts SMS"),
        ({"subtract_pending": "{{ 'yes' }}"}, "subtract_pending is 'yes'"),
        ({"smspartner_conn_id": "{{ none }}"}, "smspartner_conn_id is 'None'"),
        ({"smspartner_conn_id": "{{ ['a', 'b'] }}"}, "a list that became text"),
    ],
    ids=str,
)
def test_what_renders_to_nonsense_fails_without_task_retries_or_a_request(
    sandbox: SMSPartnerSandbox, connect: Any, run_task: Any, rendered: dict[str, Any], told: str
) -> None:
    connect(sandbox)
    outcome = run_task(CreditsSensor, **{"min_credits": 1, "retries": 3} | rendered)
    assert (outcome.state, outcome.tries, sandbox.requests) == ("failed", 1, 0)
    assert is_told_as_error(f".*{re.escape(told)}", outcome.log)


def test_a_mapped_gate_with_nonsense_fails_without_task_retries(
    sandbox: SMSPartnerSandbox, connect: Any, run_dag: Any, task_log: Any
) -> None:
    connect(sandbox)
    nonsense = {
        "min_credits is 'many'": {"min_credits": "many"},
        "poke_interval is 0": {"min_credits": 1, "poke_interval": 0},
        "timeout is nan": {"min_credits": 1, "timeout": float("nan")},
        "deferrable is 'False'": {"min_credits": 1, "deferrable": "False"},
        "smspartner_conn_id is of type int": {"min_credits": 1, "smspartner_conn_id": 12345},
    }
    with DAG("mapped_nonsense", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        CreditsSensor.partial(task_id="gate", retries=3).expand_kwargs(list(nonsense.values()))
    ended = [(str(instance.state), instance.try_number) for instance in run_dag(dag).get_task_instances()]
    assert (ended, sandbox.requests) == ([("failed", 1)] * len(nonsense), 0)
    log = task_log()
    assert [told for told in nonsense if told not in log] == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"min_credits": -1}, "min_credits is -1"),
        ({"min_credits": "-1"}, "min_credits is '-1'"),
        ({"min_credits": "many"}, "min_credits is 'many'"),
        ({"min_credits": None}, "min_credits is of type NoneType"),
        ({"credit_type": "creditSms"}, "credit_type is 'creditSms'"),
        ({"credit_type": "balance", "subtract_pending": True}, "subtract_pending counts SMS"),
        ({"subtract_pending": "no"}, "subtract_pending is 'no'"),
        ({"smspartner_conn_id": ["a", "b"]}, "smspartner_conn_id is of type list"),
        ({"poke_interval": 0}, "poke_interval is 0"),
        ({"poke_interval": timedelta(seconds=-1)}, "poke_interval is datetime.timedelta"),
        ({"timeout": 0}, "timeout is 0"),
        ({"timeout": float("inf")}, "timeout is inf"),
        ({"deferrable": "False"}, "deferrable is 'False'"),
        ({"skip_on_timeout": 1}, "skip_on_timeout is 1"),
        ({"skip_on_timeout": True, "soft_fail": True}, "use one"),
        ({"skip_on_timeout": True, "never_fail": True}, "use one"),
    ],
    ids=str,
)
def test_nonsense_is_refused_while_the_dag_is_parsed_where_it_is_known_by_then(
    arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises(SMSPartnerArgumentError) as refusal:
        CreditsSensor(**{"task_id": "gate", "min_credits": "{{ x }}"} | arguments)
    assert told in str(refusal.value)


@pytest.mark.parametrize(
    "templated",
    [
        {"credit_type": "{{ x }}", "subtract_pending": True},
        {"credit_type": "balance", "subtract_pending": "{{ x }}"},
        {"smspartner_conn_id": "{{ x }}"},
        {"min_credits": lambda context, jinja_env: 5},
    ],
    ids=", ".join,
)
def test_what_a_template_will_tell_is_not_refused_while_the_dag_is_parsed(templated: dict[str, Any]) -> None:
    CreditsSensor(**{"task_id": "gate", "min_credits": "150.50"} | templated)


def test_the_defaults_of_a_dag_are_checked_too() -> None:
    with (
        pytest.raises(SMSPartnerArgumentError, match="poke_interval is 0"),
        DAG("defaults", default_args={"poke_interval": 0}),
    ):
        CreditsSensor(task_id="gate", min_credits=1)


def test_a_mapped_gate_asks_each_account_once(connect: Any, run_dag: Any) -> None:
    with ExitStack() as running:
        accounts = [running.enter_context(SMSPartnerSandbox(balance="1")) for _ in range(3)]
        conn_ids = [connect(account, f"account_{number}") for number, account in enumerate(accounts)]
        with DAG("mapped_gates", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
            CreditsSensor.partial(task_id="gate", min_credits=1).expand(smspartner_conn_id=conn_ids)
        assert run_dag(dag).state == "success"
    assert [account.requests for account in accounts] == [1, 1, 1]


def test_a_poke_leaves_nothing_on_the_sensor(sandbox: SMSPartnerSandbox, connect: Any) -> None:
    connect(sandbox)
    sensor = CreditsSensor(task_id="gate", min_credits=10**9)
    before = dict(vars(sensor))
    sensor.poke({})
    left = {name: value for name, value in vars(sensor).items() if name not in {"_cached_logger", "_log"}}  # Airflow's
    assert left == before
