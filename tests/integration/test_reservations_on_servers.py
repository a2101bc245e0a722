"""The ledger on the databases that can hold one: nobody spends what another one holds, whoever is killed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine

from airflow_provider_smspartner.account import CreditRequirement, Credits
from airflow_provider_smspartner.reservation import Request
from airflow_provider_smspartner.sql import reservation_visits
from airflow_provider_smspartner.sql.reservation_visits import Visit, Visits
from airflow_provider_smspartner.sql.reservations import Ledger
from tests.integration.conftest import make_place, reach
from tests.unit.sql.two_ledgers import CLOCK, TwoLedgers, random_steps

TABLE = "reservations"
CREDITS = Credits(100, None, None, 0, None, None)


@pytest.fixture(params=["sqlite", "postgresql+psycopg2", "postgresql+psycopg", "mariadb+pymysql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[URL]:
    """A database that can hold a ledger, empty."""
    if request.param == "sqlite":
        yield sa.engine.make_url(f"sqlite:///{tmp_path}/ledger.db")
        return
    with make_place(reach(request, request.param), request.param) as place:
        yield place.url


@pytest.fixture
def engine(url: URL) -> Iterator[Engine]:
    engine = sa.create_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def visits(engine: Engine) -> Visits:
    return Visits(engine, TABLE)


def request_for(holder: str, amount: int = 60, **fields: Any) -> Request:
    asked: dict[str, Any] = {"hold_for": timedelta(hours=1)} | fields
    return Request("account", "smspartner_default", CreditRequirement(amount), holder=holder, **asked)


def test_many_first_visits_at_once_make_one_account_and_its_tables(engine: Engine) -> None:
    def first(number: int) -> bool:
        ledger = Ledger(Visits(engine, TABLE))
        outcome = ledger.grant(request_for(str(number), 10), CREDITS, ledger.note("account"))
        return outcome.verdict is not None and outcome.verdict.is_granted

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(first, range(24))) == 10


def test_a_visit_waits_for_the_one_before_it(visits: Visits) -> None:
    entered, leave, order = threading.Event(), threading.Event(), []

    def stay(visit: Visit) -> None:
        entered.set()
        assert leave.wait(10)
        order.append("first")

    visits.visit("account", lambda visit: None)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(visits.visit, "account", stay)
        assert entered.wait(10)
        second = threads.submit(visits.visit, "account", lambda visit: order.append("second"))
        # It cannot have entered: the first one still holds the lock, and says when it leaves.
        assert not second.done()
        leave.set()
        first.result(20)
        second.result(20)
    assert order == ["first", "second"]


@pytest.mark.parametrize("given", ["AUTOCOMMIT", "REPEATABLE READ"])
def test_an_engine_of_another_isolation_locks_all_the_same(url: URL, given: str) -> None:
    if url.get_backend_name() == "sqlite" and given != "AUTOCOMMIT":
        pytest.skip("SQLite has no such isolation")
    engine = sa.create_engine(url, isolation_level=given)
    try:
        test_a_visit_waits_for_the_one_before_it(Visits(engine, TABLE))
        test_many_first_visits_at_once_make_one_account_and_its_tables(engine)
    finally:
        engine.dispose()


def test_the_lock_comes_before_every_other_statement(engine: Engine, visits: Visits) -> None:
    visits.visit("account", lambda visit: None)
    statements: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    visits.visit("account", lambda visit: None)
    ours = [statement.split()[0] for statement in statements if "reservations" in statement]
    assert ours[0] == "UPDATE"


def test_the_clock_is_read_after_the_lock(visits: Visits) -> None:
    """Else a hold that expires while another visit waits for its turn would live on, its credit spent by then."""
    entered, leave = threading.Event(), threading.Event()
    left_at: list[int] = []

    def stay(visit: Visit) -> None:
        entered.set()
        assert leave.wait(10)
        left_at.append(visit.connection.execute(visits._clock).scalar())  # type: ignore[arg-type]

    visits.visit("account", lambda visit: None)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(visits.visit, "account", stay)
        assert entered.wait(10)
        second = threads.submit(visits.visit, "account", lambda visit: visit.note)
        started = threading.Event()
        threading.Timer(0.3, started.set).start()
        assert started.wait(5)
        leave.set()
        first.result(20)
        note = second.result(20)
    assert note.at_us >= _us(left_at[0])


def _us(now: Any) -> int:
    from airflow_provider_smspartner.sql.reservation_visits import _clock_us

    return _clock_us(now)


def test_an_expired_hold_ends_with_a_version_and_its_credit_is_free(visits: Visits) -> None:
    ledger = Ledger(visits)
    short = request_for("a", hold_for=timedelta(milliseconds=200))
    held = ledger.grant(short, CREDITS, ledger.note("account")).reservation
    assert held is not None
    before = ledger.note("account")
    while ledger.look(held.reservation_id, None).state == "held":  # type: ignore[union-attr]
        threading.Event().wait(0.05)
    row = ledger.look(held.reservation_id, None)
    assert row is not None
    assert (row.ended_how, (row.ended_version or 0) > before.version) == ("expired", True)
    # A reading from before its end may show the credit that it has spent.
    late = ledger.grant(request_for("b"), CREDITS, before)
    assert late.verdict is not None
    assert not late.verdict.is_granted
    fresh = ledger.grant(request_for("b"), CREDITS, ledger.note("account"))
    assert fresh.verdict is not None
    assert fresh.verdict.is_granted


@pytest.mark.parametrize("seed", [1])
def test_a_database_keeps_what_the_model_of_the_rules_keeps(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """So that what the explorer finds of the rows in memory holds for the rows in tables, too."""
    monkeypatch.setitem(reservation_visits._CLOCKS, engine.dialect.name, CLOCK)
    ledgers = TwoLedgers(engine)
    states = set()
    for number, step in enumerate(random_steps(seed, 150)):
        if isinstance(step, int):
            ledgers.leap(step)
            continue
        here, there = ledgers.do(step)
        assert here == there, number
        here, there = ledgers.rows()
        assert here == there, number
        states |= {row.ended_how or row.state for row in here}
    assert states == {"held", "waiting", "released", "expired", "exchanged", "withdrawn"}
