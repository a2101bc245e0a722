"""The public API as a DAG author uses it. Nothing runs this: mypy checks it, so a type that moves is a decision."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, assert_type

import requests
from airflow.sdk import DAG, Asset, AssetWatcher, task

from airflow_provider_smspartner.account import Account, CreditRequirement, Credits, CreditType, User
from airflow_provider_smspartner.api.protocol import parse_account
from airflow_provider_smspartner.exceptions import (
    SMSPartnerAccessError,
    SMSPartnerArgumentError,
    SMSPartnerConfigurationError,
    SMSPartnerError,
    SMSPartnerRejectedError,
    SMSPartnerResponseError,
    SMSPartnerUnavailableError,
)
from airflow_provider_smspartner.hooks.reservations import CreditReservationsHook
from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook
from airflow_provider_smspartner.operators.credits import CreditsToSqlOperator
from airflow_provider_smspartner.operators.forecast import CreditsForecastOperator
from airflow_provider_smspartner.operators.reservations import CreditsReleaseOperator
from airflow_provider_smspartner.reservation import Reservation
from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from airflow_provider_smspartner.sensors.credits import CreditsSensor
from airflow_provider_smspartner.sensors.reservations import CreditsReservationSensor
from airflow_provider_smspartner.triggers.credits import CreditsTrigger


def asks_the_account() -> None:
    hook = SMSPartnerHook("marketing")
    account = hook.get_account()
    assert_type(account, Account)
    assert_type(account.user, User)
    assert_type(account.user.username, str | None)
    assert_type(account.credits, Credits)
    assert_type(account.fetched_at, datetime)
    assert_type(account.reading(), dict[str, int | str | None])
    assert_type(account.credits.sms, int | None)
    assert_type(account.credits.balance, Decimal | None)
    assert_type(account.credits.of(CreditType.BALANCE), int | Decimal | None)
    assert_type(account.credits.unreadable, Mapping[str, str])
    assert_type(Credits.from_reading(account.reading()), Credits)
    assert_type(hook.test_connection(), tuple[bool, str])
    assert_type(hook.base_url, str)
    session: requests.Session = hook.get_conn()
    session.close()
    assert_type(parse_account(b"{}", http_status=200, content_type="application/json"), Account)


async def asks_on_a_loop(hook: SMSPartnerHook) -> None:
    assert_type(await hook.aget_account(), Account)
    await hook.aclose()


def decides(credits: Credits) -> None:
    requirement = CreditRequirement(5000, CreditType.SMS, subtract_pending=True)
    assert_type(requirement.is_met_by(credits), bool)
    assert_type(requirement.available(credits), int | Decimal | None)
    assert_type(requirement.describe(credits), str)
    CreditRequirement(Decimal("12.50"), CreditType.BALANCE)


def tells_errors_apart(hook: SMSPartnerHook) -> str:
    try:
        hook.get_account()
    except SMSPartnerUnavailableError as error:
        assert_type(error.retry_after, float | None)
    except (SMSPartnerArgumentError, SMSPartnerConfigurationError, SMSPartnerAccessError) as permanent:
        return str(permanent)
    except (SMSPartnerRejectedError, SMSPartnerResponseError) as error:
        assert_type(error.code, int | None)
        assert_type(error.http_status, int | None)
    except SMSPartnerError as error:
        assert_type(error.retryable, bool)
    return ""


def reserves(hook: CreditReservationsHook) -> None:
    hour = timedelta(hours=1)
    reservation = hook.reserve(
        "marketing",
        CreditRequirement(4000),
        holder="campaign-17",
        hold_for=hour,
        settles_after=timedelta(0),
        priority=1,
        in_turn=True,
        on_rerun="rest",
    )
    assert_type(reservation, Reservation | None)
    if reservation is not None:
        assert_type(reservation.held, int | Decimal)
        assert_type(reservation.expires_at, datetime | None)
    for told in (reservation, {"reservation_id": "…", "epoch": 1}, "an id"):
        assert_type(hook.deduct(told, 500, key="chunk 1"), int | Decimal | None)
        assert_type(hook.extend(told, hour), Reservation | None)
        assert_type(hook.still_holds(told), bool)
        hook.release(told)
    assert_type(hook.reservations("marketing", active=False), list[Reservation])


with DAG("campaign", schedule=None):
    gate = CreditsSensor(
        task_id="gate",
        min_credits="{{ params.sms }}",
        credit_type="sms",
        subtract_pending=True,
        smspartner_conn_id="marketing",
        skip_on_timeout=True,
        deferrable=True,
    )
    snapshot = CreditsToSqlOperator(
        task_id="snapshot",
        sql_conn_id="warehouse",
        smspartner_conn_id=["marketing", "alerts"],
        table="credit",
        schema=None,
        create_table=False,
        on_rerun="keep",
        store_username=False,
        max_concurrency=4,
    )
    CreditsForecastOperator(
        task_id="forecast",
        sql_conn_id="warehouse",
        smspartner_conn_id="marketing",
        table="credit",
        schema=None,
        credit_type="sms",
        days=28,
    )
    reserve = CreditsReservationSensor(
        task_id="reserve",
        min_credits=4000,
        reservations_conn_id="ledger",
        priority=0,
        in_turn=False,
        hold_for=timedelta(hours=72),
        settles_after=60,
        on_rerun="whole",
        reservations_table="reservations",
        schema=None,
        create_table=True,
        deferrable=True,
    )
    release = CreditsReleaseOperator(
        task_id="release", reservation=reserve.output, reservations_conn_id="ledger", retries=3
    )

    @task
    def send(reservation: dict[str, Any]) -> None:
        CreditReservationsHook("ledger", reservations_table="reservations", schema=None, create_table=True).deduct(
            reservation, "1.5"
        )


CreditsReservationSensor.partial(task_id="each", reservations_conn_id="ledger").expand(min_credits=[1, 2])
CreditsSensor.partial(task_id="each", min_credits=1).expand(smspartner_conn_id=["marketing"])

watch = CreditsTrigger(
    smspartner_conn_id="marketing",
    min_credits=50,
    credit_type="balance",
    subtract_pending=False,
    poke_interval=timedelta(minutes=5),
    direction="below",
    once=False,
    rearm_margin="25.5",
    report_unreadable=True,
)
low_credit = Asset("low_credit", watchers=[AssetWatcher(name="low_credit", trigger=watch)])


def tests_a_dag_of_ones_own() -> None:
    with SMSPartnerSandbox(
        balance="10.50", api_key="key", currency="EUR", to_send=0, prices={"sms": "0.05"}
    ) as sandbox:
        assert_type(sandbox, SMSPartnerSandbox)
        assert_type(sandbox.url, str)
        assert_type(sandbox.connection_json(max_retries=0), str)
        assert_type(sandbox.top_up("5"), Decimal)
        assert_type(sandbox.spend(Decimal(1)), Decimal)
        assert_type(sandbox.requests, int)
        sandbox.fail_next(times=2, http_status=503, headers={"Retry-After": "1"})
        sandbox.fail_next(body={"success": False, "code": 10}, times=None)
        sandbox.recover()
        sandbox.wait_for_requests(1, timeout=5)
