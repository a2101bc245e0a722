"""Forty campaigns at once on credit for ten, the triggerer killed meanwhile: all finish, and nobody ends short."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from tests.system.reservations.story import BALANCE, Story

if TYPE_CHECKING:
    from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
    from tests.system.airflow import Airflow

Figures = dict[str, object]


def test_forty_campaigns_that_reserve_all_finish_and_nobody_ends_short(
    airflow: Airflow, account: SMSPartnerSandbox, database: sa.URL, figures: Figures
) -> None:
    story = Story(airflow, account, "reserving")
    needed = story.start()

    def kill_the_triggerer() -> None:
        airflow.stop_triggerer(signal.SIGKILL)
        airflow.start_triggerer()

    states = story.end(at_most=1200, halfway=kill_the_triggerer)
    figures["campaigns at once, mixed modes, the triggerer killed once"] = sum(states.values())
    figures["campaigns that ended short"] = story.failed("send")
    assert (states, story.failed("send")) == ({"success": 40}, 0)
    # Counted where the money is: each SMS was paid for once.
    assert BALANCE + story.topped_up - account.balance == needed
    rows = _rows(database)
    assert {row.ended_how for row in rows} == {"released"}
    assert (len(rows), sum(row.amount for row in rows), sum(row.deducted for row in rows)) == (40, needed, needed)
    figures["longest wait for credit, s"] = round(max((row.granted_at - row.requested_at).seconds for row in rows))


@pytest.mark.skipif("GATES_TOO" not in os.environ, reason="GATES_TOO=1 runs the same with plain gates, for the docs")
def test_the_same_forty_with_plain_gates(airflow: Airflow, account: SMSPartnerSandbox, figures: Figures) -> None:
    account.spend(account.balance - BALANCE) if account.balance > BALANCE else account.top_up(BALANCE - account.balance)
    story = Story(airflow, account, "gated")
    story.start()
    story.end(at_most=1200)
    figures["of the same forty with plain gates, campaigns that ended short"] = story.failed("send_without")
    assert story.failed("send_without") > 0


def _rows(database: sa.URL) -> list[sa.Row[tuple[object, ...]]]:
    engine = sa.create_engine(database)
    with engine.connect() as connection:
        rows = list(connection.execute(sa.text("SELECT * FROM smspartner_credit_reservations")))
    engine.dispose()
    return rows
