"""A ledger that is away, locked or not as it must be: not yet, or a permanent error, in every mode; never go."""

from __future__ import annotations

import asyncio
import json
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from airflow.exceptions import AirflowRescheduleException
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_smspartner.account import CreditRequirement
from airflow_provider_smspartner.exceptions import SMSPartnerConfigurationError, SMSPartnerError, from_event
from airflow_provider_smspartner.hooks.reservations import CreditReservationsHook
from airflow_provider_smspartner.operators.reservations import CreditsReleaseOperator
from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from airflow_provider_smspartner.sensors.reservations import CreditsReservationSensor
from airflow_provider_smspartner.sql.engine import make_engine
from airflow_provider_smspartner.triggers.reservations import CreditsReservationTrigger
from tests.integration.conftest import bundled_postgresql, make_place, reach

__all__ = ["bundled_postgresql"]

HOUR = timedelta(hours=1)
TABLE = "smspartner_credit_reservations"
READING = {"sms": 100, "sms_low_cost": 100, "hlr": 100, "to_send": 0, "balance": "100", "currency": "EUR"}
CALLED = {"status": "met", "reading": READING, "note": ["the table", 1, 1]}

MAKE_ENGINE = make_engine

GO, NOT_YET = "go", "not yet"


@pytest.fixture(autouse=True)
def _account(connect: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An account that could pay for everything: what keeps a gate shut is the ledger alone."""
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)
    with SMSPartnerSandbox(balance="1000000") as sandbox:
        connect(sandbox)
        yield


class Ledger:
    """A ledger that had one reservation, before something happened to its database."""

    def __init__(self, path: Path, patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
        self.path, self.patch, self.stack = path, patch, stack
        self.create_table = True
        self.lead_to(f"sqlite:///{path}")
        hook = CreditReservationsHook("ledger")
        first = hook.reserve("smspartner_default", CreditRequirement(1), holder="first", hold_for=HOUR)
        assert first is not None
        self.first = first.as_xcom()

    def lead_to(self, url: str) -> None:
        """Have the connection lead to another database, whose locks are not waited for."""
        options = {"timeout": 0.01} if url.startswith("sqlite") else {}
        self.patch.setattr(
            "airflow_provider_smspartner.sql.engine.make_engine",
            lambda _: sa.create_engine(url, connect_args=options),
        )

    def execute(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.path)) as database:
            for statement in statements:
                database.execute(statement)
            database.commit()


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    with ExitStack() as stack:
        yield Ledger(tmp_path / "ledger.db", monkeypatch, stack)


def away(ledger: Ledger) -> None:
    ledger.lead_to("postgresql+psycopg2://someone:Pa55@127.0.0.1:1/x")


def locked(ledger: Ledger) -> None:
    holder = ledger.stack.enter_context(closing(sqlite3.connect(ledger.path)))
    holder.execute("BEGIN EXCLUSIVE")


def read_only(ledger: Ledger) -> None:
    ledger.lead_to(f"sqlite:///file:{ledger.path}?mode=ro&uri=true")


def missing(ledger: Ledger) -> None:
    ledger.execute(*(f"DROP TABLE {TABLE}{which}" for which in ("", "_accounts", "_deductions")))
    ledger.create_table = False


def one_missing(ledger: Ledger) -> None:
    ledger.execute(f"DROP TABLE {TABLE}_deductions")
    ledger.create_table = False


def without_a_column(ledger: Ledger) -> None:
    ledger.execute(f"ALTER TABLE {TABLE} RENAME COLUMN expires_us TO expires")


def without_its_lock(ledger: Ledger) -> None:
    ledger.execute(f"ALTER TABLE {TABLE}_accounts RENAME COLUMN incarnation TO incarnated")


def no_sql(ledger: Ledger) -> None:
    ledger.patch.setattr("airflow_provider_smspartner.sql.engine.make_engine", MAKE_ENGINE)
    ledger.patch.setenv("AIRFLOW_CONN_LEDGER", json.dumps({"conn_type": "email"}))


TRANSIENT = [away, locked]
PERMANENT = {
    read_only: "the database is read-only there: name a connection that may write",
    missing: "it is not there, and create_table is False",
    one_missing: "_deductions': it is not there, and create_table is False",
    without_a_column: "it lacks these columns: expires_us",
    without_its_lock: "_accounts': it lacks these columns: incarnation",
    no_sql: "has no SQL hook",
}


class TaskInstance:
    """What a gate asks of its task instance."""

    dag_id, task_id, run_id, map_index, try_number = "campaign", "reserve", "run", -1, 1

    def xcom_push(self, key: str, value: Any) -> None: ...

    def get_first_reschedule_date(self, context: object) -> datetime:
        return datetime.now(UTC)


CONTEXT: Any = {"ti": TaskInstance()}


def gate(ledger: Ledger, **told: Any) -> CreditsReservationSensor:
    asked: dict[str, Any] = {"min_credits": 60, "reservations_conn_id": "ledger", "deferrable": False} | told
    return CreditsReservationSensor(task_id="reserve", create_table=ledger.create_table, **asked)


def waits(wait: Callable[[], object]) -> str:
    try:
        return GO if wait() else NOT_YET
    except (TaskDeferred, AirflowRescheduleException):
        return NOT_YET


def poke(ledger: Ledger) -> str:
    return waits(lambda: gate(ledger).poke(CONTEXT).is_done)


def reschedule(ledger: Ledger) -> str:
    return waits(lambda: gate(ledger, mode="reschedule").execute(CONTEXT))


def deferrable(ledger: Ledger) -> str:
    return waits(lambda: gate(ledger, deferrable=True).execute(CONTEXT))


def called(ledger: Ledger) -> str:
    return waits(lambda: gate(ledger, deferrable=True).execute_complete(CONTEXT, CALLED))


def in_the_triggerer(ledger: Ledger) -> str:
    class EnoughPollsError(BaseException):
        pass

    async def pause(*_: object) -> None:
        raise EnoughPollsError

    async def event_of(trigger: CreditsReservationTrigger) -> Any:
        with suppress(EnoughPollsError):
            async for event in trigger.run():
                return event.payload
        return None

    trigger = CreditsReservationTrigger(
        reservation_id="x",
        smspartner_conn_id="smspartner_default",
        reservations_conn_id="ledger",
        reservations_table=TABLE,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("airflow_provider_smspartner.triggers.readings.Pace.pause", pause)
        event = asyncio.run(event_of(trigger))
    if event is None:
        return NOT_YET
    if event["status"] == "error":
        raise from_event(event["error"])
    return GO


def _retried(ask: Callable[[], object]) -> str:
    """Return not yet for what a task's retry may heal."""
    try:
        return GO if ask() else NOT_YET
    except SMSPartnerError as error:
        if error.retryable:
            return NOT_YET
        raise


def hook(ledger: Ledger) -> str:
    hook = CreditReservationsHook("ledger", create_table=ledger.create_table)
    return _retried(lambda: hook.reserve("smspartner_default", CreditRequirement(60), holder="me", hold_for=HOUR))


def release(ledger: Ledger) -> str:
    operator = CreditsReleaseOperator(
        task_id="release", reservation=ledger.first, reservations_conn_id="ledger", create_table=ledger.create_table
    )
    return _retried(lambda: operator.execute(CONTEXT))


GATES = [poke, reschedule, deferrable, called, in_the_triggerer, hook]


@pytest.mark.parametrize("mode", [poke, hook])
def test_a_ledger_as_it_must_be_lets_a_campaign_go(ledger: Ledger, mode: Callable[[Ledger], str]) -> None:
    """Else nothing below could fail."""
    assert mode(ledger) == GO


@pytest.mark.parametrize("mode", [*GATES, release])
@pytest.mark.parametrize("fault", TRANSIENT)
def test_a_transient_fault_of_the_ledger_is_not_yet(
    ledger: Ledger, fault: Callable[[Ledger], None], mode: Callable[[Ledger], str]
) -> None:
    fault(ledger)
    assert mode(ledger) == NOT_YET


@pytest.mark.parametrize("mode", [*GATES, release])
@pytest.mark.parametrize("fault", PERMANENT)
def test_a_permanent_fault_of_the_ledger_ends_the_wait_with_what_to_do(
    ledger: Ledger, fault: Callable[[Ledger], None], mode: Callable[[Ledger], str]
) -> None:
    if mode is release and fault is one_missing:
        pytest.skip("a release looks at no deductions")
    fault(ledger)
    with pytest.raises(SMSPartnerConfigurationError) as refused:
        mode(ledger)
    assert PERMANENT[fault] in str(refused.value)
    assert refused.value.__cause__ is refused.value.__context__ is None


def test_a_login_that_lacks_a_right_is_told_the_grants_of_all_three_tables(
    ledger: Ledger, request: pytest.FixtureRequest
) -> None:
    with make_place(reach(request, "postgresql+psycopg2"), "postgresql+psycopg2") as place:
        ledger.lead_to(place.url.render_as_string(hide_password=False))
        assert hook(ledger) == GO
        guest = f"guest_{secrets.token_hex(4)}"
        place.execute(
            f"CREATE ROLE {guest} LOGIN PASSWORD 'Pa55'",
            f"GRANT USAGE ON SCHEMA {place.name} TO {guest}",
            f"GRANT SELECT, INSERT, UPDATE ON {place.name}.{TABLE} TO {guest}",
        )
        ledger.lead_to(place.url.set(username=guest, password="Pa55").render_as_string(hide_password=False))
        try:
            with pytest.raises(SMSPartnerConfigurationError, match="lacks a right") as refused:
                poke(ledger)
            assert "Pa55" not in str(refused.value)
            advice = str(refused.value).partition("have its owner run ")[2].partition("; where")[0]
            place.execute(f"SET search_path TO {place.name}", *advice.split("; "))
            assert poke(ledger) == GO
        finally:
            place.execute(f"DROP OWNED BY {guest}", f"DROP ROLE {guest}")
