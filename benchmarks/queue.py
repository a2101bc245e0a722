"""Many gates that wait for reservations in one real triggerer: what an interval costs, and who is resumed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlalchemy as sa

from airflow_provider_smspartner.account import CreditRequirement, Credits
from airflow_provider_smspartner.reservation import Request
from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from airflow_provider_smspartner.sql.reservation_visits import Visits
from airflow_provider_smspartner.sql.reservations import Ledger
from airflow_provider_smspartner.triggers.reservations import CreditsReservationTrigger
from benchmarks.measure import Line
from benchmarks.triggerer import Serialized, Size, Triggerer, run_triggerer
from tests.system.airflow import Airflow

FULL, QUICK = Size(triggers=1000, interval=10, intervals=6), Size(triggers=12, interval=1, intervals=3)

FOR, NEEDS = 10, 10
"""For how many gates credit comes, and what each needs."""

TABLE = "smspartner_credit_reservations"
ONE_EACH = {"sms": 1, "sms_low_cost": 1, "hlr": 1}
EVERYTHING = Credits(10**9, None, None, 0, None, None)


def measure(size: Size) -> list[Line]:
    """Return the requests and ledger visits of an interval, and the tasks resumed for each that was granted."""
    with _waiting(size) as (sandbox, engine, gates, named):
        ledger = Ledger(Visits(engine, TABLE))
        with run_triggerer(gates, named) as triggerer:
            # All gates wait by then: the triggerer starts them over some time.
            Airflow.until(lambda: _seen(engine) == size.triggers, timeout=300)
            before, begin = (sandbox.requests, _visits(engine)), time.monotonic()
            time.sleep(size.interval * size.intervals)
            intervals = (time.monotonic() - begin) / size.interval
            requests, visits = sandbox.requests - before[0], _visits(engine) - before[1]
            sandbox.top_up(FOR * NEEDS)
            Airflow.until(lambda: _resumed(triggerer) >= min(FOR, size.triggers), timeout=120)
            granted = sum(_comes(ledger, sandbox, number) for number in _called(engine))
            # Nobody else is called for the same credit.
            time.sleep(size.interval * 3)
            resumed = _resumed(triggerer)
    each = {"requests": requests / intervals, "ledger visits": visits / intervals}
    return [
        *(_line(size, f"{what} per interval", f"{n:.2f}", "1", is_met=round(n) == 1) for what, n in each.items()),
        _line(
            size,
            f"credit for {FOR} comes: tasks resumed for each that is granted",
            f"{resumed / max(granted, 1):.2f}",
            "at most 1.2",
            is_met=granted == FOR and resumed <= 1.2 * granted,
        ),
    ]


def _line(size: Size, case: str, result: str, goal: str, *, is_met: bool) -> Line:
    figure = f"{size.triggers:,} gates that wait for reservations on one account"
    return Line(figure, case, result, "", result, goal, is_met)


@contextmanager
def _waiting(size: Size) -> Iterator[tuple[SMSPartnerSandbox, sa.Engine, list[Serialized], dict[str, str]]]:
    """Make a ledger in which one campaign holds all the credit, and so many gates wait."""
    with TemporaryDirectory() as folder, SMSPartnerSandbox("100", prices=ONE_EACH) as sandbox:
        path = Path(folder) / "ledger.db"
        engine = sa.create_engine(f"sqlite:///{path}")
        ledger = Ledger(Visits(engine, TABLE))
        ledger.grant(_request("holds everything", 100), EVERYTHING, ledger.note("package"))
        nothing = Credits(0, None, None, 0, None, None)
        gates = []
        for number in range(size.triggers):
            request = _request(str(number))
            ledger.grant(request, nothing, ledger.note("package"))
            gates.append(_gate(request, size.interval))
        named = {
            "package": sandbox.connection_json(),
            "ledger": json.dumps({"conn_type": "sqlite", "host": str(path)}),
        }
        yield sandbox, engine, gates, named
        engine.dispose()


def _request(holder: str, amount: int = NEEDS) -> Request:
    requirement, hour = CreditRequirement(amount), timedelta(hours=1)
    return Request("package", "package", requirement, hour, seen_for=timedelta(seconds=100), holder=holder)


def _gate(request: Request, interval: float) -> Serialized:
    return CreditsReservationTrigger(
        reservation_id=request.reservation_id,
        smspartner_conn_id="package",
        reservations_conn_id="ledger",
        reservations_table=TABLE,
        poke_interval=interval,
    ).serialize()


def _comes(ledger: Ledger, sandbox: SMSPartnerSandbox, holder: str) -> bool:
    """Do what a resumed gate does on its worker: reserve, on a reading of its own."""
    note = ledger.note("package")
    reading = Credits(int(sandbox.balance), None, None, 0, None, None)
    row = ledger.grant(_request(holder), reading, note).reservation
    return row is not None and row.state == "held"


def _resumed(triggerer: Triggerer) -> int:
    ((count,),) = triggerer.airflow.query("SELECT count(*) FROM task_instance WHERE state <> 'deferred'")
    return int(count)


def _called(engine: sa.Engine) -> list[str]:
    query = f"SELECT holder FROM {TABLE} WHERE called_until_us IS NOT NULL ORDER BY requested_version"
    with engine.connect() as connection:
        return list(connection.execute(sa.text(query)).scalars())


def _seen(engine: sa.Engine) -> int:
    """Return how many gates the last poll has kept in their places: those of one poll are kept alike."""
    query = f"SELECT count(*) FROM {TABLE} GROUP BY seen_until_us ORDER BY seen_until_us DESC LIMIT 1"
    with engine.connect() as connection:
        return int(connection.execute(sa.text(query)).scalar() or 0)


def _visits(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(sa.text(f"SELECT version FROM {TABLE}_accounts")).scalar() or 0)
