"""A campaign waits for its reservation, in every mode, and gives it back where it ends otherwise than by success."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSkipException, Context, TaskDeferred

from airflow_provider_smspartner.account import CreditRequirement, Credits
from airflow_provider_smspartner.exceptions import SMSPartnerArgumentError, SMSPartnerConfigurationError
from airflow_provider_smspartner.hooks.reservations import CreditReservationsHook
from airflow_provider_smspartner.reservation import Reservation
from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from airflow_provider_smspartner.sensors.reservations import CreditsReservationSensor
from airflow_provider_smspartner.triggers.reservations import CreditsReservationTrigger
from tests.conftest import Connect, TaskOutcome

HOUR = timedelta(hours=1)
ONE_EACH = {"sms": 1, "sms_low_cost": 1, "hlr": 1}

RunTask = Callable[..., TaskOutcome]


@pytest.fixture
def account(connect: Connect) -> Any:
    """An account of 100 SMS, at a price of 1."""
    with SMSPartnerSandbox(balance="100", prices=ONE_EACH) as sandbox:
        connect(sandbox)
        yield sandbox


@pytest.fixture
def hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CreditReservationsHook:
    """The ledger that the gates of a test share."""
    connection = {"conn_type": "sqlite", "host": str(tmp_path / "ledger.db")}
    monkeypatch.setenv("AIRFLOW_CONN_LEDGER", json.dumps(connection))
    return CreditReservationsHook("ledger")


class TaskInstance:
    """What a gate asks of its task instance."""

    def __init__(self, try_number: int = 1, task_id: str = "reserve", run_id: str = "run", map_index: int = -1) -> None:
        self.dag_id, self.task_id, self.run_id, self.map_index = "campaign", task_id, run_id, map_index
        self.try_number = try_number
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


def context(**identity: Any) -> Context:
    ti: Any = TaskInstance(**identity)
    return {"ti": ti}  # type: ignore[typeddict-item]


def gate(**arguments: Any) -> CreditsReservationSensor:
    asked: dict[str, Any] = {"min_credits": 60, "reservations_conn_id": "ledger", "deferrable": False} | arguments
    return CreditsReservationSensor(task_id="reserve", **asked)


def others(hook: CreditReservationsHook, amount: int, holder: str = "another campaign") -> Reservation:
    held = hook.reserve("smspartner_default", CreditRequirement(amount), holder=holder, hold_for=HOUR)
    assert held is not None
    return held


@pytest.mark.parametrize("how", [{"mode": "poke"}, {"mode": "reschedule"}, {"deferrable": True}], ids=str)
def test_a_gate_reserves_what_is_free_and_hands_it_on(
    run_task: RunTask, account: SMSPartnerSandbox, hook: CreditReservationsHook, how: dict[str, Any]
) -> None:
    outcome = run_task(CreditsReservationSensor, min_credits=60, reservations_conn_id="ledger", **how)
    assert outcome.state == "success"
    (held,) = hook.reservations()
    assert (held.state, held.held, held.task_id) == ("held", 60, "task")
    assert outcome.xcom["sms"] == 100
    assert {name: outcome.xcom[name] for name in ("reservation_id", "epoch", "held")} == {
        "reservation_id": held.reservation_id,
        "epoch": 1,
        "held": "60",
    }
    assert "the account holds 100 sms, other campaigns hold 0, 100 are free, 60 needed: reserved" in outcome.log


@pytest.mark.parametrize("how", [{"mode": "poke"}, {"mode": "reschedule"}, {"deferrable": True}], ids=str)
def test_a_gate_waits_for_what_another_campaign_holds(
    run_task: RunTask,
    account: SMSPartnerSandbox,
    hook: CreditReservationsHook,
    once_it_waits: Callable[..., Any],
    in_a_hurry: None,
    how: dict[str, Any],
) -> None:
    first = hook.reserve(
        "smspartner_default", CreditRequirement(60), holder="another", hold_for=HOUR, settles_after=timedelta(0)
    )
    with once_it_waits(account, lambda: hook.release(first)):
        outcome = run_task(
            CreditsReservationSensor,
            min_credits=60,
            reservations_conn_id="ledger",
            poke_interval=0.2,
            timeout=60,
            **how,
        )
    assert outcome.state == "success"
    assert "other campaigns hold 60, 40 are free, 60 needed: not enough, place 1 in the queue" in outcome.log
    (held,) = hook.reservations()
    assert held.task_id == "task"


def test_the_same_try_gets_its_own_hold_back(account: SMSPartnerSandbox, hook: CreditReservationsHook) -> None:
    """A worker may die between the grant and the end of its task: Airflow starts the same try anew."""
    first = gate().execute(context())
    again = gate().execute(context())
    assert (first["reservation_id"], first["epoch"]) == (again["reservation_id"], again["epoch"])
    assert [row.held for row in hook.reservations()] == [60]


def test_another_try_exchanges_its_hold_for_the_whole(account: SMSPartnerSandbox, hook: CreditReservationsHook) -> None:
    old = gate(settles_after=0).execute(context())
    hook.deduct(old, 50)
    account.spend(50)
    assert gate(settles_after=0).poke(context(try_number=2)).is_done is False  # 50 are left, and 60 are needed
    assert hook.still_holds(old)
    account.top_up(10)
    new = gate(settles_after=0).execute(context(try_number=2))
    assert (new["epoch"], new["held"]) == (2, "60")
    assert not hook.still_holds(old)
    hook.release(old)  # a late release of the old epoch
    assert hook.still_holds(new)


def test_another_try_can_reserve_the_rest_alone(account: SMSPartnerSandbox, hook: CreditReservationsHook) -> None:
    old = gate(settles_after=0, on_rerun="rest").execute(context())
    account.spend(50)
    hook.deduct(old, 50)
    new = gate(settles_after=0, on_rerun="rest").execute(context(try_number=2))
    assert (new["epoch"], new["held"]) == (2, "10")


def test_a_gate_that_times_out_leaves_its_place(account: SMSPartnerSandbox, hook: CreditReservationsHook) -> None:
    others(hook, 60)
    with pytest.raises(AirflowSkipException):
        gate(skip_on_timeout=True, timeout=0.1, poke_interval=0.05).execute(context())
    assert [row.holder for row in hook.reservations()] == ["another campaign"]
    (given_up,) = [row for row in hook.reservations(active=False) if row.task_id]
    assert given_up.ended_how == "withdrawn"


def test_a_gate_that_fails_after_its_grant_gives_it_back(
    account: SMSPartnerSandbox, hook: CreditReservationsHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object, **__: object) -> None:
        raise ConnectionError("the API server is away")

    monkeypatch.setattr(TaskInstance, "xcom_push", lost)
    with pytest.raises(ConnectionError):
        gate().execute(context())
    assert hook.reservations() == []


def test_a_gate_that_is_killed_gives_back_what_it_has_reserved(
    account: SMSPartnerSandbox, hook: CreditReservationsHook
) -> None:
    killed = gate()
    killed.execute(context())
    killed.on_kill()
    assert hook.reservations() == []


def test_a_failing_gate_leaves_the_hold_of_an_earlier_try_to_its_sender(
    account: SMSPartnerSandbox, hook: CreditReservationsHook
) -> None:
    old = gate(settles_after=0).execute(context())
    others(hook, 40)
    with pytest.raises(AirflowSkipException):
        gate(min_credits=70, skip_on_timeout=True, timeout=0.1, poke_interval=0.05).execute(context(try_number=2))
    assert hook.still_holds(old)


def test_a_deferred_gate_keeps_what_it_needs_and_no_secret(
    account: SMSPartnerSandbox, hook: CreditReservationsHook
) -> None:
    others(hook, 60)
    waiting = gate(deferrable=True, poke_interval=30, timeout=600)
    with pytest.raises(TaskDeferred) as deferred:
        waiting.execute(context())
    (row,) = [row for row in hook.reservations() if row.state == "waiting"]
    assert deferred.value.trigger.serialize() == (
        "airflow_provider_smspartner.triggers.reservations.CreditsReservationTrigger",
        {
            "reservation_id": row.reservation_id,
            "smspartner_conn_id": "smspartner_default",
            "reservations_conn_id": "ledger",
            "reservations_table": "smspartner_credit_reservations",
            "schema": None,
            "poke_interval": 30.0,
        },
    )
    assert timedelta(seconds=590) < deferred.value.timeout <= timedelta(seconds=600)


def called(hook: CreditReservationsHook, account: SMSPartnerSandbox) -> dict[str, Any]:
    """Return the event of a trigger, with a reading of this moment."""
    from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook

    with hook.ledger() as ledger:
        note = ledger.note("smspartner_default")
    reading = SMSPartnerHook().get_account().reading()
    return {"status": "met", "reading": reading, "note": [note.incarnation, note.version, note.at_us]}


def test_a_called_gate_reserves_on_the_reading_that_it_was_called_with(
    account: SMSPartnerSandbox, hook: CreditReservationsHook
) -> None:
    event = called(hook, account)
    requests = account.requests
    handed_on = gate(deferrable=True).execute_complete(context(), event)
    assert (handed_on["held"], account.requests) == ("60", requests)


def test_a_gate_that_was_called_too_late_reads_anew_and_defers_for_the_time_that_is_left(
    account: SMSPartnerSandbox, hook: CreditReservationsHook
) -> None:
    event = called(hook, account)
    others(hook, 60)
    requests = account.requests
    kept = {"waits_since": (datetime.now(UTC) - timedelta(seconds=500)).isoformat()}
    with pytest.raises(TaskDeferred) as deferred:
        gate(deferrable=True, timeout=600).resume_execution("execute_complete", {"event": event} | kept, context())
    assert account.requests == requests + 1
    assert timedelta(seconds=90) < deferred.value.timeout <= timedelta(seconds=100)
    assert deferred.value.kwargs == kept


def test_a_called_gate_waits_on_where_the_ledger_is_away(
    account: SMSPartnerSandbox, hook: CreditReservationsHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = called(hook, account)
    away = {"conn_type": "postgres", "host": "127.0.0.1", "port": 1, "login": "x", "password": "x", "schema": "x"}
    monkeypatch.setenv("AIRFLOW_CONN_LEDGER", json.dumps(away))
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)
    with pytest.raises(TaskDeferred):
        gate(deferrable=True).execute_complete(context(), event)


def test_a_called_gate_that_is_deferrable_no_more_waits_on_rather_than_go_without_a_hold(
    account: SMSPartnerSandbox, hook: CreditReservationsHook
) -> None:
    """Its DAG was changed while it waited."""
    event = called(hook, account)
    others(hook, 60)
    with pytest.raises(TaskDeferred):
        gate(deferrable=False).execute_complete(context(), event)


def test_a_gate_that_came_in_vain_is_called_no_more_until_it_can_be_granted(
    account: SMSPartnerSandbox, hook: CreditReservationsHook
) -> None:
    """Else its trigger would call it again at each poll, and its credit would be kept from those behind it."""
    others(hook, 60)
    assert gate().poke(context()).is_done is False
    (waiting,) = [row for row in hook.reservations() if row.state == "waiting"]
    with hook.ledger() as ledger:
        note = ledger.note("smspartner_default")
        plenty = Credits(1_000, None, None, 0, Decimal(1_000), "EUR")
        (row,) = ledger.call("smspartner_default", [waiting.reservation_id], plenty, note, HOUR)
    assert row.reservation_id == waiting.reservation_id
    assert [row.called_until_us is None for row in hook.reservations()] == [True, False]
    assert gate().poke(context()).is_done is False
    assert [row.called_until_us for row in hook.reservations()] == [None, None]


def test_a_gate_whose_connection_names_another_account_meanwhile_holds_there_alone(
    account: SMSPartnerSandbox, hook: CreditReservationsHook, connect: Connect
) -> None:
    """Held under the old account's name, nobody on the new one would see it."""
    others(hook, 60)
    assert gate().poke(context()).is_done is False
    connect(account, reservations_account="head office")
    gate().execute(context())
    assert gate(min_credits=50).poke(context(task_id="another")).is_done is False
    held = [(row.account, row.held) for row in hook.reservations() if row.state == "held"]
    assert held == [("smspartner_default", 60), ("head office", 60)]


def test_a_hold_under_a_former_account_is_released_under_its_own_lock(
    account: SMSPartnerSandbox, hook: CreditReservationsHook, connect: Connect
) -> None:
    old = gate().execute(context())
    connect(account, reservations_account="head office")
    new = gate().execute(context(try_number=2))
    with hook.ledger() as ledger:
        before = ledger.note("smspartner_default").version
    hook.release(old)
    rows = hook.reservations(active=False)
    (ended,) = [row for row in rows if row.ended_version is not None]
    assert (ended.account, ended.ended_version) == ("smspartner_default", before + 1)
    assert hook.still_holds(new)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"reservations_conn_id": 5}, "reservations_conn_id is of type int"),
        ({"priority": "high"}, "priority is 'high': use a whole number"),
        ({"priority": 1.5}, "priority is 1.5: use a whole number"),
        ({"in_turn": "yes"}, "in_turn is 'yes': use True or False"),
        ({"hold_for": timedelta(0)}, "hold_for is datetime.timedelta(0)"),
        ({"hold_for": -5}, "hold_for is -5"),
        ({"settles_after": -1}, "settles_after is -1"),
        ({"on_rerun": "all"}, "on_rerun is 'all': use one of 'whole', 'rest'"),
        ({"create_table": "no"}, "create_table is 'no': use True or False"),
        ({"min_credits": 1, "credit_type": "euros"}, "credit_type is 'euros'"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_while_the_dag_is_parsed(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(SMSPartnerArgumentError, match="^" + says.replace("(", r"\(").replace(")", r"\)")):
        gate(**arguments)


def test_a_reservation_of_nothing_is_refused(account: SMSPartnerSandbox, hook: CreditReservationsHook) -> None:
    with pytest.raises(SMSPartnerArgumentError, match="min_credits is 0: a reservation of nothing holds nothing"):
        gate(min_credits=0).execute(context())


def test_a_ledger_that_is_away_is_not_yet_and_never_go(
    account: SMSPartnerSandbox, hook: CreditReservationsHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = {"conn_type": "postgres", "host": "127.0.0.1", "port": 1, "login": "x", "password": "x", "schema": "x"}
    monkeypatch.setenv("AIRFLOW_CONN_LEDGER", json.dumps(away))
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)
    assert gate().poke(context()).is_done is False


def test_a_database_that_cannot_lock_is_refused_by_name(
    account: SMSPartnerSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {"conn_type": "duckdb", "host": str(tmp_path / "ledger.duckdb")}
    monkeypatch.setenv("AIRFLOW_CONN_LEDGER", json.dumps(connection))
    with pytest.raises(SMSPartnerConfigurationError, match="^duckdb cannot lock an account"):
        gate().execute(context())


def test_the_trigger_takes_what_it_has_serialized() -> None:
    trigger = CreditsReservationTrigger(
        reservation_id="id",
        smspartner_conn_id="a",
        reservations_conn_id="b",
        reservations_table="c",
        poke_interval=HOUR,
    )
    _, arguments = trigger.serialize()
    assert CreditsReservationTrigger(**arguments).serialize() == trigger.serialize()
    assert arguments["poke_interval"] == 3600.0


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        ({"creditSms": "1 234", "creditHlr": 1, "toSend": 0}, "the account reports 'creditSms', but not as a plain"),
        ({"creditSms": 1234, "toSend": "1 234"}, "the account reports 'toSend', but not as a plain number"),
        ({"creditSms": 1234}, "the account does not report 'to_send', which is unknown"),
    ],
)
def test_a_gate_whose_figure_cannot_be_read_reserves_nothing_and_names_the_field(
    account: SMSPartnerSandbox,
    hook: CreditReservationsHook,
    task_log: Callable[[], str],
    figures: dict[str, Any],
    told: str,
) -> None:
    account.fail_next(http_status=200, body={"success": True, "code": 200, "credits": figures})
    assert not gate(subtract_pending=True).poke(context())
    assert told in task_log()
    assert [row.state for row in hook.reservations()] == ["waiting"]


def test_a_price_that_cannot_be_told_names_the_field_that_cannot_be_read(
    account: SMSPartnerSandbox, hook: CreditReservationsHook, task_log: Callable[[], str]
) -> None:
    others(hook, 5)
    figures = {"creditSms": 100, "creditHlr": "1 234", "balance": "100"}
    account.fail_next(http_status=200, body={"success": True, "code": 200, "credits": figures})
    assert not gate(credit_type="hlr").poke(context())
    assert "imply no price of 'hlr': the account reports 'creditHlr', but not as a plain number" in task_log()


@pytest.mark.parametrize(
    ("arguments", "seen_for"),
    [
        ({}, timedelta(seconds=60)),
        ({"exponential_backoff": True, "max_wait": timedelta(minutes=10)}, timedelta(minutes=10)),
        ({"exponential_backoff": True, "timeout": 7200}, timedelta(hours=2)),
        ({"exponential_backoff": True, "deferrable": True}, timedelta(seconds=60)),
    ],
    ids=str,
)
def test_a_gate_keeps_its_place_until_it_asks_again(
    account: SMSPartnerSandbox, hook: CreditReservationsHook, arguments: dict[str, Any], seen_for: timedelta
) -> None:
    request = gate(poke_interval=60, **arguments)._request(CreditRequirement(60), context())
    assert request.seen_for == seen_for + timedelta(seconds=120)


def test_a_foreign_error_while_a_gate_gives_back_does_not_mask_its_own(
    account: SMSPartnerSandbox, hook: CreditReservationsHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("a fault of ours")

    others(hook, 60)
    monkeypatch.setattr("airflow_provider_smspartner.sql.reservations.Ledger.release", broken)
    with pytest.raises(AirflowSkipException):
        gate(skip_on_timeout=True, timeout=0.1, poke_interval=0.05).execute(context())
