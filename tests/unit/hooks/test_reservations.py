"""The hook of reservations: what a task of one's own does with it, and what it is told when something is gone."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_smspartner.account import CreditRequirement, CreditType
from airflow_provider_smspartner.exceptions import (
    SMSPartnerArgumentError,
    SMSPartnerConfigurationError,
    SMSPartnerUnavailableError,
)
from airflow_provider_smspartner.hooks.reservations import CreditReservationsHook
from airflow_provider_smspartner.reservation import Reservation
from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from tests.conftest import Connect

HOUR, AT_ONCE = timedelta(hours=1), timedelta(0)
ONE_EACH = {"sms": 1, "sms_low_cost": 1, "hlr": 1}
CONN_ID = "smspartner_default"


@pytest.fixture
def account(connect: Connect) -> Iterator[SMSPartnerSandbox]:
    """An account of 100 SMS, at a price of 1."""
    with SMSPartnerSandbox(balance="100", prices=ONE_EACH) as sandbox:
        connect(sandbox)
        yield sandbox


@pytest.fixture
def ledger_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    connection = {"conn_type": "sqlite", "host": str(tmp_path / "ledger.db")}
    monkeypatch.setenv("AIRFLOW_CONN_LEDGER", json.dumps(connection))
    return tmp_path / "ledger.db"


@pytest.fixture
def hook(ledger_file: Path, account: SMSPartnerSandbox) -> CreditReservationsHook:
    return CreditReservationsHook("ledger")


@pytest.fixture
def leap(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Put the ledger's clock forward: ``leap(HOUR)``."""
    from airflow_provider_smspartner.sql import reservation_visits

    ahead = timedelta(0)

    def leap(by: timedelta) -> None:
        nonlocal ahead
        ahead += by
        clock = f"SELECT strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now', '+{ahead.total_seconds()} seconds')"
        monkeypatch.setitem(reservation_visits._CLOCKS, "sqlite", clock)

    return leap


def reserve(hook: CreditReservationsHook, amount: Any = 60, holder: str = "mine", **told: Any) -> Reservation | None:
    asked: dict[str, Any] = {"hold_for": HOUR, "settles_after": AT_ONCE} | told
    credit_type = asked.pop("credit_type", CreditType.SMS)
    conn_id = asked.pop("conn_id", CONN_ID)
    return hook.reserve(conn_id, CreditRequirement(amount, credit_type), holder=holder, **asked)


def granted(hook: CreditReservationsHook, *args: Any, **told: Any) -> Reservation:
    reservation = reserve(hook, *args, **told)
    assert reservation is not None
    return reservation


WAYS: dict[str, Callable[[Reservation], object]] = {
    "the dataclass": lambda row: row,
    "the XCom": lambda row: {"sms": 100} | row.as_xcom(),
    "the id": lambda row: row.reservation_id,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_reservation_is_told_in_three_ways(hook: CreditReservationsHook, way: str) -> None:
    told = WAYS[way](granted(hook))
    assert hook.still_holds(told)
    assert hook.deduct(told, 20) == 40
    longer = hook.extend(told, HOUR * 3)
    assert longer is not None
    assert longer.held == 40
    hook.release(told)
    assert not hook.still_holds(told)


def test_what_is_held_is_not_free_for_another_one_and_one_reading_decides(
    hook: CreditReservationsHook, account: SMSPartnerSandbox
) -> None:
    first = granted(hook)
    assert reserve(hook, 60, "other") is None
    assert account.requests == 2
    hook.release(first)
    assert reserve(hook, 60, "other") is not None


def test_the_same_holder_gets_its_own_hold_back_and_another_attempt_exchanges_it(hook: CreditReservationsHook) -> None:
    first = granted(hook)
    assert granted(hook) == first
    second = granted(hook, attempt="again")
    assert (second.epoch, hook.still_holds(first), hook.still_holds(second)) == (2, False, True)


def test_an_amount_of_money_is_held_exactly(hook: CreditReservationsHook) -> None:
    held = granted(hook, "33.33", credit_type=CreditType.BALANCE)
    assert hook.deduct(held, "0.01") == Decimal("33.32")
    assert [row.held for row in hook.reservations()] == [Decimal("33.32")]


def test_a_price_is_kept_of_the_grant(hook: CreditReservationsHook) -> None:
    (row,) = [granted(hook)]
    assert (row.price, row.currency, row.balance) == (1, "EUR", 100)


# Deductions


def test_a_key_counts_once_however_often_it_is_told(hook: CreditReservationsHook) -> None:
    held = granted(hook)
    assert [hook.deduct(held, 10, key=key) for key in ("a", "a", "b")] == [50, 50, 40]


def test_the_same_key_with_another_amount_is_refused_and_names_the_argument(hook: CreditReservationsHook) -> None:
    held = granted(hook)
    hook.deduct(held, 10, key="a")
    with pytest.raises(SMSPartnerConfigurationError, match="give each part of a campaign a key= of its own"):
        hook.deduct(held, 20, key="a")
    assert hook.reservations()[0].held == 50


def test_outside_of_a_task_each_call_counts(hook: CreditReservationsHook) -> None:
    held = granted(hook)
    assert [hook.deduct(held, 10), hook.deduct(held, 10)] == [50, 40]


def test_a_deduction_renews_the_hold_and_never_shortens_what_an_extension_gave(
    hook: CreditReservationsHook, leap: Callable[[timedelta], None]
) -> None:
    held = granted(hook)
    leap(HOUR / 2)
    hook.deduct(held, 10)
    leap(HOUR * 0.75)
    assert hook.still_holds(held)
    longer = hook.extend(held, HOUR * 5)
    assert longer is not None
    hook.extend(held, HOUR * 5)
    with hook.ledger() as ledger:
        before = ledger.look(held.reservation_id, None)
        ledger.deduct(held.reservation_id, 1, "x", 1)
        after = ledger.look(held.reservation_id, None)
    assert before is not None
    assert after is not None
    assert (after.expires_us or 0) >= (before.expires_us or 0)


def test_a_short_hold_is_not_cut_by_a_deduction_after_a_long_extension(
    hook: CreditReservationsHook, leap: Callable[[timedelta], None]
) -> None:
    held = granted(hook)
    hook.extend(held, HOUR * 10)
    hook.deduct(held, 10)
    leap(HOUR * 9)
    assert hook.still_holds(held)


@pytest.mark.parametrize(
    ("amount", "says"),
    [(0, "amount is 0: deduct more than 0"), (-5, "amount is -5: use a number"), ("many", "amount is 'many'")],
)
def test_an_amount_that_makes_no_sense_is_refused(hook: CreditReservationsHook, amount: Any, says: str) -> None:
    held = granted(hook)
    with pytest.raises(SMSPartnerArgumentError, match=f"^{says}"):
        hook.deduct(held, amount)
    assert hook.reservations()[0].held == 60


def test_mapped_chunks_deduct_once_each_though_one_is_retried(
    hook: CreditReservationsHook, run_dag: Callable[..., Any]
) -> None:
    held = granted(hook).as_xcom()
    with DAG("chunks_that_deduct", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:

        @task(retries=1, retry_delay=0.01)
        def send(chunk: int, ti: Any = None) -> None:
            ledger = CreditReservationsHook("ledger")
            ledger.deduct(held, 10)
            ledger.deduct(held, 5)
            if chunk == 0 and ti.try_number == 1:
                raise RuntimeError("the worker died")

        send.expand(chunk=[0, 1])
    assert run_dag(dag).state == "success"
    assert hook.reservations()[0].held == 60 - 2 * 15


# What is gone


def test_there_is_nothing_to_do_with_no_reservation(hook: CreditReservationsHook, task_log: Callable[[], str]) -> None:
    """A gate that was marked as success by hand hands on None."""
    assert hook.deduct(None, 10) is None
    assert "There is no reservation to deduct from: what is sent now, other campaigns may count on" in task_log()
    assert hook.extend(None, HOUR) is None
    assert "There is no reservation to extend: what is sent now, other campaigns may count on" in task_log()
    assert hook.still_holds(None) is False
    hook.release(None)


def test_an_expired_holder_is_told_and_what_it_sent_is_kept_for_the_history(
    hook: CreditReservationsHook, leap: Callable[[timedelta], None], task_log: Callable[[], str]
) -> None:
    held = granted(hook)
    leap(HOUR)
    assert not hook.still_holds(held)
    assert hook.deduct(held, 10) is None
    assert "epoch 1, holds nothing: it is expired. 10 deducted; what is sent now" in task_log()
    (row,) = hook.reservations(active=False)
    assert (row.deducted, row.ended_how, hook.reservations()) == (10, "expired", [])


def test_a_dead_holder_frees_its_credit_when_its_time_is_over(
    hook: CreditReservationsHook, leap: Callable[[timedelta], None]
) -> None:
    granted(hook)
    leap(HOUR - timedelta(seconds=5))
    assert reserve(hook, 60, "other") is None
    leap(timedelta(seconds=5))
    assert reserve(hook, 60, "other") is not None


def test_an_extension_that_comes_too_late_reserves_the_rest_anew(
    hook: CreditReservationsHook, account: SMSPartnerSandbox, leap: Callable[[timedelta], None]
) -> None:
    held = granted(hook)
    account.spend(40)
    hook.deduct(held, 40)
    leap(HOUR)
    again = hook.extend(held, HOUR)
    assert again is not None
    assert (again.epoch, again.held, again.asked) == (2, 20, 60)


def test_an_extension_after_a_rerun_reserves_what_is_left_of_the_rerun(
    hook: CreditReservationsHook, account: SMSPartnerSandbox, leap: Callable[[timedelta], None]
) -> None:
    """What the first try has sent, the re-run sends again."""
    hook.deduct(granted(hook), 40)
    rerun = granted(hook, attempt="2")
    hook.deduct(rerun, 10)
    leap(HOUR)
    again = hook.extend(rerun, HOUR)
    assert again is not None
    assert (again.epoch, again.held) == (3, 50)


def test_a_rest_of_a_rest_is_what_nobody_has_deducted(hook: CreditReservationsHook) -> None:
    held = granted(hook, on_rerun="rest")
    for attempt, rest in (("2", 40), ("3", 20)):
        hook.deduct(held, 20)
        held = granted(hook, on_rerun="rest", attempt=attempt)
        assert held.held == rest


def test_an_extension_is_refused_where_others_hold_the_credit_by_now(
    hook: CreditReservationsHook, leap: Callable[[timedelta], None]
) -> None:
    held = granted(hook)
    leap(HOUR)
    granted(hook, 60, "other")
    assert hook.extend(held, HOUR) is None


def test_a_released_reservation_is_not_extended(hook: CreditReservationsHook) -> None:
    held = granted(hook)
    hook.release(held)
    assert hook.extend(held, HOUR) is None
    assert hook.reservations() == []


def test_a_release_may_come_twice_and_for_several(hook: CreditReservationsHook, task_log: Callable[[], str]) -> None:
    held = [granted(hook, 30, "one"), granted(hook, 30, "two").as_xcom(), None]
    hook.release(held)
    assert hook.reservations() == []
    hook.release(held)
    assert task_log().count("holds nothing: nothing to release") in {2, 4}  # before 3.2 it is printed and logged


@pytest.mark.parametrize("act", ["deduct", "extend", "release"])
def test_another_epoch_is_left_alone(hook: CreditReservationsHook, task_log: Callable[[], str], act: str) -> None:
    old = granted(hook)
    new = granted(hook, attempt="2")
    {
        "deduct": lambda: hook.deduct(old, 10),
        "extend": lambda: hook.extend(old, HOUR * 9),
        "release": lambda: hook.release(old),
    }[act]()
    (row,) = hook.reservations()
    assert (row.epoch, row.held, row.expires_us) == (2, 60, new.expires_us)
    assert "holds nothing" in task_log()


def test_a_reservation_that_nobody_knows_is_told_as_such(
    hook: CreditReservationsHook, task_log: Callable[[], str]
) -> None:
    assert hook.deduct("no-such-id", 10) is None
    assert "There is no reservation no-such-id in the ledger" in task_log()
    assert not hook.still_holds("no-such-id")


@pytest.mark.parametrize("told", [5, {"reservation_id": "x"}, {"epoch": 1}, "", 1.5], ids=repr)
def test_what_is_no_reservation_is_refused(hook: CreditReservationsHook, told: object) -> None:
    for act in (hook.still_holds, hook.release, lambda it: hook.deduct(it, 1), lambda it: hook.extend(it, HOUR)):
        with pytest.raises(SMSPartnerArgumentError):
            act(told)


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"hold_for": AT_ONCE}, "hold_for is "),
        ({"hold_for": -5}, "hold_for is -5"),
        ({"settles_after": -1}, "settles_after is -1"),
        ({"priority": 1.5}, "priority is 1.5"),
        ({"in_turn": "yes"}, "in_turn is 'yes'"),
        ({"on_rerun": "all"}, "on_rerun is all"),
        ({"holder": None}, "holder is of type NoneType"),
        ({"holder": "x" * 251}, "holder has 251 characters: use 250 at most"),
        ({"amount": 0}, "min_credits is 0: a reservation of nothing"),
    ],
    ids=str,
)
def test_a_request_that_makes_no_sense_is_refused_before_anybody_is_asked(
    hook: CreditReservationsHook, account: SMSPartnerSandbox, told: dict[str, Any], says: str
) -> None:
    with pytest.raises(SMSPartnerArgumentError, match=f"^{says}"):
        reserve(hook, **told)
    assert account.requests == 0


@pytest.mark.parametrize("hold_for", [AT_ONCE, -HOUR, None], ids=repr)
def test_an_extension_by_no_time_is_refused_and_ends_no_hold(hook: CreditReservationsHook, hold_for: Any) -> None:
    held = granted(hook)
    with pytest.raises(SMSPartnerArgumentError, match="^hold_for is"):
        hook.extend(held, hold_for)
    assert hook.still_holds(held)


# Accounts


def test_two_connections_that_show_one_balance_are_noticed(
    hook: CreditReservationsHook, account: SMSPartnerSandbox, connect: Connect, task_log: Callable[[], str]
) -> None:
    connect(account, "second")
    granted(hook, 30)
    assert "show the very same balance" not in task_log()
    granted(hook, 30, conn_id="second")
    assert "The accounts second, smspartner_default show the very same balance: if they are one" in task_log()


def test_connections_that_name_one_account_share_its_credit(
    hook: CreditReservationsHook, account: SMSPartnerSandbox, connect: Connect, task_log: Callable[[], str]
) -> None:
    for conn_id in (CONN_ID, "second"):
        connect(account, conn_id, reservations_account="head office")
    granted(hook, 60)
    assert reserve(hook, 60, "other", conn_id="second") is None
    assert "show the very same balance" not in task_log()
    assert [(row.account, row.smspartner_conn_id) for row in hook.reservations(CONN_ID)] == [("head office", CONN_ID)]


def test_a_table_that_was_made_anew_during_a_reading_discards_it(
    hook: CreditReservationsHook, ledger_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was held before is forgotten: the reading may be of a time when it was not spent yet."""
    from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook

    granted(hook, 10, "first")
    whole = SMSPartnerHook.get_account

    def read_slowly(account: SMSPartnerHook) -> Any:
        with closing(sqlite3.connect(ledger_file)) as database:
            database.execute("DROP TABLE smspartner_credit_reservations_accounts")
        return whole(account)

    monkeypatch.setattr(SMSPartnerHook, "get_account", read_slowly)
    with pytest.raises(SMSPartnerUnavailableError, match="made anew during the reading"):
        reserve(hook)
    monkeypatch.setattr(SMSPartnerHook, "get_account", whole)
    assert reserve(hook) is not None


def test_who_holds_and_who_waits_is_told_by_connection_and_with_or_without_the_past(
    hook: CreditReservationsHook, account: SMSPartnerSandbox, connect: Connect
) -> None:
    connect(account, "second")
    first = granted(hook, 60, "first")
    assert reserve(hook, 60, "waits") is None
    granted(hook, 10, "elsewhere", conn_id="second")
    assert {(row.holder, row.state) for row in hook.reservations()} == {
        ("first", "held"),
        ("waits", "waiting"),
        ("elsewhere", "held"),
    }
    hook.release(first)
    assert [row.holder for row in hook.reservations(CONN_ID)] == ["waits"]
    assert {row.holder for row in hook.reservations(CONN_ID, active=False)} == {"first", "waits"}


def test_the_log_of_a_grant_tells_the_figures_and_whom_it_does_not_bind(
    hook: CreditReservationsHook, task_log: Callable[[], str]
) -> None:
    granted(hook)
    log = task_log()
    assert "the account holds 100 sms, other campaigns hold 0, 100 are free, 60 needed: reserved" in log
    assert "It holds among campaigns that reserve: who sends without can still spend it" in log


def test_a_run_that_holds_already_is_told_so(hook: CreditReservationsHook, task_log: Callable[[], str]) -> None:
    from airflow_provider_smspartner.reservation import Request

    for task_id in ("one", "two"):
        asked = {"dag_id": "campaign", "run_id": "run", "task_id": task_id}
        hook.ask(Request(CONN_ID, CONN_ID, CreditRequirement(30), hold_for=HOUR, **asked))  # type: ignore[arg-type]
    assert "This run already holds 30, which counts against it" in task_log()
