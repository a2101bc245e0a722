"""Sixteen processes spend from one account and are killed in the middle: nobody ends short who holds a reservation."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from airflow_provider_smspartner.account import CreditRequirement
from airflow_provider_smspartner.hooks.reservations import CreditReservationsHook
from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from tests.faults.spenders import Spenders
from tests.integration.conftest import bundled_postgresql, make_place, reach

__all__ = ["bundled_postgresql"]

ONE_EACH = {"sms": 1, "sms_low_cost": 1, "hlr": 1}


@pytest.fixture(params=["sqlite", "postgresql+psycopg2", "mariadb+pymysql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[URL]:
    """A database that can hold a ledger, empty."""
    if request.param == "sqlite":
        yield sa.engine.make_url(f"sqlite:///{tmp_path}/ledger.db")
        return
    with make_place(reach(request, request.param), request.param) as place:
        yield place.url


@pytest.fixture
def hook(url: URL, monkeypatch: pytest.MonkeyPatch) -> CreditReservationsHook:
    """The hook as tasks have it, but for Airflow's connection of the database, which other tests are about."""
    made = "airflow_provider_smspartner.sql.engine.make_engine"
    monkeypatch.setattr(made, lambda _: sa.create_engine(url))
    return CreditReservationsHook("ledger")


def test_sixteen_processes_that_are_killed_spend_no_more_than_they_hold(
    hook: CreditReservationsHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SMSPartnerSandbox(balance="100", prices=ONE_EACH) as sandbox:
        monkeypatch.setenv("AIRFLOW_CONN_SMSPARTNER_DEFAULT", sandbox.connection_json())
        # Here, so that no process has to import everything and create the tables in its short life.
        hook.reserve("smspartner_default", CreditRequirement(1), holder="first", hold_for=timedelta(seconds=1))
        outcomes = Spenders(sandbox, processes=16).run(finished=30, killed=15, at_most=100)
    assert set(outcomes) <= {"finished", "not yet", "killed", "expired"}, outcomes
    assert (outcomes["finished"] >= 30, outcomes["killed"] >= 14) == (True, True), outcomes
    _wait_until_all_has_expired(hook)
    assert hook.reservations() == []


def _wait_until_all_has_expired(hook: CreditReservationsHook) -> None:
    """Wait until what the dead held is past by the database's clock, and its rows are ended."""
    last = max((row.expires_us or 0 for row in hook.reservations()), default=0)
    with hook.ledger() as ledger:
        while ledger.note("smspartner_default").at_us < last:
            threading.Event().wait(0.2)
        ledger.note("smspartner_default")
        # Who asked in vain waits no more, either: its row is passed over, and kept as history.
        for row in ledger.reservations():
            if row.state == "waiting":
                ledger.release(row.reservation_id)
