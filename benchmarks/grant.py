"""One grant of a reservation, compared with bare SQLAlchemy, with much history and many waiting."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from airflow_provider_smspartner.account import CreditRequirement, Credits
from airflow_provider_smspartner.reservation import Note, Request, Reservation
from airflow_provider_smspartner.sql.reservation_tables import ReservationTables, reservation_to_row
from airflow_provider_smspartner.sql.reservation_visits import Visits
from airflow_provider_smspartner.sql.reservations import Ledger
from benchmarks.measure import Line, Spread, in_random_order, ratio_line
from benchmarks.row import SERVERS

FIGURE = "one grant of a reservation"
WARM_UP = 3
HELD = 20
"""Other campaigns that hold credit meanwhile."""

CREDITS = Credits(10**9, None, None, 0, Decimal("10225.119"), "EUR")
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Size:
    """How many reservations have ended before, how many gates wait, and how often each side grants."""

    past: int
    waiting: int
    rounds: int


FULL, QUICK = Size(past=100_000, waiting=1_000, rounds=200), Size(past=100, waiting=10, rounds=3)


def measure(size: Size) -> list[Line]:
    """Return for each database a line without history, one with much, and one with many who wait."""
    with TemporaryDirectory() as folder:
        databases = SERVERS | {"SQLite": f"sqlite:///{Path(folder) / 'ledger'}.db"}
        return [line for name, url in databases.items() for line in _measure_database(name, url, size)]


def _measure_database(name: str, url: str, size: Size) -> Iterator[Line]:
    engine = sa.create_engine(url)
    try:
        engine.connect().close()
    except DBAPIError as error:
        yield Line(FIGURE, name, "", "", f"left out: {type(error.orig).__name__}, no server there", "at most 1.5", None)
        return
    package: list[Spread] = []
    for past, waiting in ((0, 0), (size.past, 0), (0, size.waiting)):
        with _ledger_of(engine, past, waiting) as tables:
            took = _measure_ledger(engine, tables, size.rounds)
        package.append(took["package"])
        case = f"{name}, {past:,} past, {waiting:,} waiting"
        yield ratio_line(FIGURE, case, took["package"], ("baseline", took["bare"]), 1.5)
    growth = package[1].median / package[0].median
    yield Line(
        FIGURE,
        f"{name}, {size.past:,} past against none",
        package[1].told("ms", 1e3),
        f"itself: {package[0].told('ms', 1e3)}",
        f"{growth:.2f}",
        "flat: at most 1.3",
        growth <= 1.3,
    )
    engine.dispose()


def _measure_ledger(engine: sa.Engine, tables: ReservationTables, rounds: int) -> dict[str, Spread]:
    """Time each side's grants alone: before each a note is taken, and after it the credit is released."""
    ledger, seconds = Ledger(Visits(engine, tables.reservations.name)), {"package": [], "bare": []}
    bare = _BareGrant(engine, tables, ledger.note("account"))
    for number, side in enumerate(in_random_order(seconds, WARM_UP + rounds)):
        note, request = ledger.note("account"), _request(f"{side} {number}")
        begin = time.perf_counter()
        if side == "package":
            ledger.grant(request, CREDITS, note)
        else:
            bare.grant(request, note)
        seconds[side].append(time.perf_counter() - begin)
        ledger.release(request.reservation_id)
    return {side: Spread.of(taken[WARM_UP:]) for side, taken in seconds.items()}


def _request(holder: str) -> Request:
    return Request("account", "smspartner_default", CreditRequirement(1), HOUR, holder=holder)


@contextmanager
def _ledger_of(engine: sa.Engine, past: int, waiting: int) -> Iterator[ReservationTables]:
    """Make a ledger with some who hold, so many whose holds have ended, and so many who wait."""
    tables = ReservationTables(f"benchmark_reservations_{os.getpid()}", None)
    ledger = Ledger(Visits(engine, tables.reservations.name))
    try:
        note = ledger.note("account")
        for number in range(HELD):
            ledger.grant(_request(f"holds {number}"), CREDITS, note)
        (example, *_) = ledger.reservations()
        with engine.begin() as connection:
            (account_id,) = connection.execute(sa.select(tables.accounts.c.account_id)).one()
            for begin in range(0, past + waiting, 5_000):
                rows = [
                    _filler(example, account_id, has_ended=number < past)
                    for number in range(begin, min(begin + 5_000, past + waiting))
                ]
                connection.execute(sa.insert(tables.reservations), rows)
        if engine.dialect.name == "postgresql":
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql(f"ANALYZE {tables.reservations.name}")
        yield tables
    finally:
        for table in tables:
            table.drop(engine, checkfirst=True)


def _filler(example: Reservation, account_id: str, *, has_ended: bool) -> dict[str, Any]:
    row = reservation_to_row(example) | {"account_id": account_id, "reservation_id": str(uuid4())}
    if has_ended:
        return row | {"ended_at": datetime.now(UTC), "ended_version": 1, "settled_us": 1, "ended_how": "released"}
    waits = {"granted_at": None, "granted_version": None, "expires_us": None, "seen_until_us": 2**60}
    return row | waits | {"priority": -1}


class _BareGrant:
    """What somebody writes who knows the statements: each is made once, and its rows are fetched."""

    def __init__(self, engine: sa.Engine, tables: ReservationTables, note: Note) -> None:
        self._engine, self._insert = engine, sa.insert(tables.reservations)
        self._isolation = "SERIALIZABLE" if engine.dialect.name == "sqlite" else "READ COMMITTED"
        self._statements: list[tuple[Any, Any]] = []

        def record(_: object, statement: Any, many: Any, parameters: Any, __: object) -> None:
            self._statements.append((statement, many or parameters))

        sa.event.listen(engine, "before_execute", record)
        ledger = Ledger(Visits(engine, tables.reservations.name))
        ledger.grant(_request("recorded"), CREDITS, note)
        sa.event.remove(engine, "before_execute", record)
        ledger.release(_request("recorded").reservation_id)

    def grant(self, request: Request, note: Note) -> None:
        fence = {"version": note.version, "at_us": note.at_us}
        connection = self._engine.connect().execution_options(isolation_level=self._isolation)
        with connection, connection.begin():
            for statement, recorded in self._statements:
                parameters = recorded
                if "version" in recorded:
                    parameters = recorded | fence
                elif isinstance(statement, sa.sql.dml.Insert):
                    parameters = recorded | {"reservation_id": request.reservation_id, "holder": request.holder}
                result = connection.execute(statement, parameters)
                if result.returns_rows:
                    result.all()
