"""When the release of a reservation runs, and what it finds then: the table of a teardown, row by row."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_smspartner.account import CreditRequirement
from airflow_provider_smspartner.exceptions import SMSPartnerArgumentError, SMSPartnerUnavailableError
from airflow_provider_smspartner.hooks.reservations import CreditReservationsHook
from airflow_provider_smspartner.operators.reservations import CreditsReleaseOperator
from airflow_provider_smspartner.reservation import Request
from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from airflow_provider_smspartner.sensors.reservations import CreditsReservationSensor
from tests.airflow_versions import needs_airflow, run_to_its_end
from tests.conftest import Connect

HOUR = timedelta(hours=1)
START = datetime(2026, 1, 1, tzinfo=UTC)
ONE_EACH = {"sms": 1, "sms_low_cost": 1, "hlr": 1}
LEDGER = {"reservations_conn_id": "ledger"}


@pytest.fixture
def account(connect: Connect) -> Iterator[SMSPartnerSandbox]:
    """An account of 100 SMS, at a price of 1."""
    with SMSPartnerSandbox(balance="100", prices=ONE_EACH) as sandbox:
        connect(sandbox)
        yield sandbox


@pytest.fixture
def hook(account: SMSPartnerSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CreditReservationsHook:
    connection = {"conn_type": "sqlite", "host": str(tmp_path / "ledger.db")}
    monkeypatch.setenv("AIRFLOW_CONN_LEDGER", json.dumps(connection))
    return CreditReservationsHook("ledger")


def send(*, fail: bool = False) -> Any:
    @task(task_id="send")
    def sending() -> None:
        if fail:
            raise RuntimeError("in the middle")

    return sending()


def prepare(how: str) -> Any:
    from airflow.providers.common.compat.sdk import AirflowSkipException

    @task(task_id="prepare")
    def preparing() -> None:
        raise AirflowSkipException if how == "skips" else RuntimeError

    return preparing()


def campaign(dag_id: str, *between: Any, release: dict[str, Any] | None = None, **gate: Any) -> DAG:
    """Return the DAG of the documentation: reserve, what lies between, release as its teardown."""
    with DAG(f"teardown_{dag_id}", schedule=None, start_date=START) as dag:
        asked: dict[str, Any] = {"min_credits": 60, "poke_interval": 0.05, "timeout": 0.1} | LEDGER | gate
        reserve = CreditsReservationSensor(task_id="reserve", **asked)
        given: dict[str, Any] = {"reservation": reserve.output} | LEDGER | (release or {})
        freeing = CreditsReleaseOperator(task_id="release", **given)
        steps = [each() for each in between]
        last: Any = reserve
        for step in steps:
            last >> step
            last = step
        last >> freeing.as_teardown(setups=reserve, on_failure_fail_dagrun=True)
    return dag


def states(run: Any) -> dict[str, str]:
    return {instance.task_id: str(instance.state) for instance in run.get_task_instances()}


def how_it_ended(hook: CreditReservationsHook) -> list[str | None]:
    return [row.ended_how for row in hook.reservations(active=False)]


# send fails, is upstream_failed, prep skips


@pytest.mark.parametrize(
    ("name", "between", "send_is"),
    [
        ("sent", [send], "success"),
        ("send_fails", [lambda: send(fail=True)], "failed"),
        ("preparing_fails", [lambda: prepare("fails"), send], "upstream_failed"),
        ("preparing_skips", [lambda: prepare("skips"), send], "skipped"),
    ],
)
def test_the_credit_is_free_however_the_sending_ended(
    hook: CreditReservationsHook, run_dag: Callable[..., Any], name: str, between: list[Any], send_is: str
) -> None:
    run = run_dag(campaign(name, *between))
    assert (states(run)["send"], states(run)["release"]) == (send_is, "success")
    assert how_it_ended(hook) == ["released"]


# the gate skipped, or failed


@pytest.mark.parametrize(("how", "gate_is"), [({"skip_on_timeout": True}, "skipped"), ({}, "failed")], ids=str)
def test_a_gate_that_reserves_nothing_leaves_nothing_to_release(
    hook: CreditReservationsHook, run_dag: Callable[..., Any], how: dict[str, Any], gate_is: str
) -> None:
    run = run_dag(campaign(f"gate_{gate_is}", send, min_credits=900, **how))
    assert states(run)["reserve"] == gate_is
    assert states(run)["release"] != "success"
    assert how_it_ended(hook) == ["withdrawn"]


# mapped gates


def test_mapped_gates_are_released_by_one_task_with_what_was_reserved(
    hook: CreditReservationsHook, run_dag: Callable[..., Any]
) -> None:
    with DAG("teardown_mapped", schedule=None, start_date=START) as dag:
        reserve = CreditsReservationSensor.partial(
            task_id="reserve", poke_interval=0.05, timeout=0.1, skip_on_timeout=True, **LEDGER
        ).expand(min_credits=[30, 900, 40])
        release = CreditsReleaseOperator(task_id="release", reservation=reserve.output, **LEDGER)
        reserve >> send() >> release.as_teardown(setups=reserve)
    run = run_dag(dag)
    assert states(run)["release"] == "success"
    assert sorted(map(str, how_it_ended(hook))) == ["released", "released", "withdrawn"]


def test_a_mapped_release_frees_each_its_own(hook: CreditReservationsHook, run_dag: Callable[..., Any]) -> None:
    with DAG("teardown_mapped_release", schedule=None, start_date=START) as dag:
        reserve = CreditsReservationSensor.partial(task_id="reserve", **LEDGER).expand(min_credits=[30, 40])
        CreditsReleaseOperator.partial(task_id="release", **LEDGER).expand(reservation=reserve.output)
    run_dag(dag)
    assert how_it_ended(hook) == ["released", "released"]


# the release itself fails


def test_a_release_that_fails_fails_the_run_and_leaves_the_hold_to_expire(
    hook: CreditReservationsHook, run_dag: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_NOWHERE", json.dumps({"conn_type": "email"}))
    run = run_dag(campaign("release_fails", send, release={"reservations_conn_id": "nowhere"}))
    assert (states(run)["send"], states(run)["release"], str(run.state)) == ("success", "failed", "failed")
    assert [row.held for row in hook.reservations()] == [60]


# without an XCom: a gate marked as success by hand


class TaskInstance:
    """What the release asks of its task instance."""

    dag_id, run_id, task_id, try_number = "by_hand", "run", "release", 1

    def __init__(self, map_index: int = -1) -> None:
        self.map_index = map_index


def waits_or_holds(hook: CreditReservationsHook, amount: int = 60, **task_instance: Any) -> str:
    asked: Any = {"dag_id": "by_hand", "run_id": "run", "task_id": "reserve", "map_index": -1} | task_instance
    request = Request("smspartner_default", "smspartner_default", CreditRequirement(amount), hold_for=HOUR, **asked)
    hook.ask(request)
    return request.reservation_id


def release_by_hand(map_index: int = -1, reservation: Any = None) -> None:
    with DAG("by_hand", schedule=None, start_date=START):
        gate = CreditsReservationSensor(task_id="reserve", min_credits=1, **LEDGER)
        release = CreditsReleaseOperator(task_id="release", reservation=gate.output, **LEDGER)
    release.reservation = reservation  # as Airflow renders it
    release.execute({"ti": TaskInstance(map_index)})  # type: ignore[typeddict-item]


@pytest.mark.parametrize("reservation", [None, [], [None]], ids=repr)
@pytest.mark.parametrize(("amount", "ended"), [(60, "released"), (900, "withdrawn")])
def test_a_gate_marked_as_success_by_hand_is_released_by_its_name(
    hook: CreditReservationsHook, reservation: object, amount: int, ended: str
) -> None:
    """It has no XCom: what it holds or waits for in this run is looked up; other gates and runs keep theirs."""
    waits_or_holds(hook, amount)
    kept = {waits_or_holds(hook, 5, run_id="another run"), waits_or_holds(hook, 5, task_id="another gate")}
    release_by_hand(reservation=reservation)
    assert {row.reservation_id for row in hook.reservations()} == kept
    assert [row.ended_how for row in hook.reservations(active=False) if row.ended_how] == [ended]


def test_a_mapped_release_by_name_frees_the_gate_of_its_index_alone(hook: CreditReservationsHook) -> None:
    kept = waits_or_holds(hook, 30, map_index=0)
    waits_or_holds(hook, 30, map_index=1)
    release_by_hand(map_index=1)
    assert [row.reservation_id for row in hook.reservations()] == [kept]


def test_nothing_reserved_and_nothing_waiting_is_nothing_to_release(hook: CreditReservationsHook) -> None:
    hook.reservations()  # makes the tables
    release_by_hand()
    assert hook.reservations(active=False) == []


# by hand and by clock, with Airflow's own functions on its database


@pytest.fixture(scope="module")
def stored_run(airflow_db: None) -> Any:
    """The run of a campaign in Airflow's database; without a ledger or an account it ends at once."""
    return run_to_its_end(campaign("by_hand", send))


@pytest.fixture
def running(stored_run: Any) -> Iterator[tuple[Any, Any]]:
    """Set that run to where its send runs; yield its serialized DAG, and the run with its session."""
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.utils.session import create_session

    with create_session() as session:
        serialized = SerializedDagModel.get_dag(stored_run.dag_id, session=session)
        run = session.merge(stored_run)
        run.state, run.end_date, run.dag = "running", None, serialized
        set_states(run, session, reserve="success", send="running", release=None)
        yield serialized, (run, session)
        session.rollback()


def would_run(run: Any, session: Any) -> list[str]:
    """Return the tasks that the scheduler would start now."""
    decision = run.task_instance_scheduling_decisions(session=session)
    return [instance.task_id for instance in decision.schedulable_tis]


def set_states(run: Any, session: Any, **wanted: str | None) -> None:
    for instance in run.get_task_instances(session=session):
        if instance.task_id in wanted:
            instance.state = wanted[instance.task_id]
    session.flush()


BY_HAND = needs_airflow(3, 3, for_the_sake_of="same functions to mark tasks and runs by hand")


@BY_HAND
def test_a_send_marked_as_failed_by_hand_is_released(running: Any) -> None:
    from airflow.api.common.mark_tasks import set_state

    dag, (run, session) = running
    set_state(tasks=[dag.get_task("send")], run_id=run.run_id, state="failed", commit=True, session=session)
    assert would_run(run, session) == ["release"]


@BY_HAND
@pytest.mark.parametrize("state", ["failed", "success"])
def test_a_run_marked_by_hand_while_it_sends_is_released(running: Any, state: str) -> None:
    """Maybe while the sender is alive: hence settles_after."""
    from airflow.api.common import mark_tasks

    dag, (run, session) = running
    mark = {"failed": mark_tasks.set_dag_run_state_to_failed, "success": mark_tasks.set_dag_run_state_to_success}
    mark[state](dag=dag, run_id=run.run_id, commit=True, session=session)
    session.refresh(run)
    run.dag = dag
    assert would_run(run, session) == ["release"]


@BY_HAND
def test_a_run_marked_as_failed_while_the_gate_waits_is_not_released(running: Any) -> None:
    """The gate leaves its place itself, or is passed over when nobody has seen it for a while."""
    from airflow.api.common.mark_tasks import set_dag_run_state_to_failed

    dag, (run, session) = running
    set_states(run, session, reserve="deferred", send=None)
    set_dag_run_state_to_failed(dag=dag, run_id=run.run_id, commit=True, session=session)
    session.refresh(run)
    run.dag = dag
    assert "release" not in would_run(run, session)


@BY_HAND
def test_a_gate_marked_as_success_while_it_waits_lets_the_send_and_then_the_release_run(running: Any) -> None:
    """The send goes without a hold, and the release finds what the gate waits for by its name."""
    from airflow.api.common.mark_tasks import set_state

    dag, (run, session) = running
    set_states(run, session, reserve="deferred", send=None)
    set_state(tasks=[dag.get_task("reserve")], run_id=run.run_id, state="success", commit=True, session=session)
    assert would_run(run, session) == ["send"]
    set_states(run, session, send="success")
    assert would_run(run, session) == ["release"]


@BY_HAND
def test_a_gate_marked_as_failed_while_its_campaign_sends_is_not_released(running: Any) -> None:
    from airflow.api.common.mark_tasks import set_state

    dag, (run, session) = running
    set_state(tasks=[dag.get_task("reserve")], run_id=run.run_id, state="failed", commit=True, session=session)
    set_states(run, session, send="success")
    assert "release" not in would_run(run, session)


@BY_HAND
def test_a_cleared_send_clears_its_gate_and_its_release_too(running: Any) -> None:
    """So that a re-run exchanges its hold: see on_rerun."""
    dag, (run, session) = running
    cleared = dag.clear(run_id=run.run_id, task_ids=["send"], dry_run=True, session=session)
    assert {instance.task_id for instance in cleared} >= {"reserve", "send", "release"}


# arguments, errors


def test_a_ledger_that_is_away_lets_the_task_be_retried(
    hook: CreditReservationsHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = {"conn_type": "postgres", "host": "127.0.0.1", "port": 1, "login": "x", "password": "x", "schema": "x"}
    monkeypatch.setenv("AIRFLOW_CONN_LEDGER", json.dumps(away))
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)
    with pytest.raises(SMSPartnerUnavailableError):
        release_by_hand(reservation={"reservation_id": "x", "epoch": 1})


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"reservations_conn_id": None}, "reservations_conn_id is of type NoneType"),
        ({"reservations_table": ""}, "reservations_table is ''"),
        ({"create_table": "no"}, "create_table is 'no': use True or False"),
    ],
    ids=str,
)
def test_arguments_that_make_no_sense_are_refused_while_the_dag_is_parsed(told: dict[str, Any], says: str) -> None:
    with pytest.raises(SMSPartnerArgumentError, match=f"^{says}"):
        CreditsReleaseOperator(task_id="release", **{"reservation": "id"} | LEDGER | told)
