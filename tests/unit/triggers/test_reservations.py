"""Gates that wait for a reservation in the triggerer: one poll for all, and only who can be granted is called."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_smspartner.account import CreditRequirement, Credits
from airflow_provider_smspartner.exceptions import (
    SMSPartnerAccessError,
    SMSPartnerArgumentError,
    SMSPartnerConfigurationError,
    from_event,
)
from airflow_provider_smspartner.hooks.reservations import CreditReservationsHook
from airflow_provider_smspartner.reservation import Request
from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from airflow_provider_smspartner.sql.reservation_visits import Visit, Visits
from airflow_provider_smspartner.sql.reservations import Ledger
from airflow_provider_smspartner.triggers import reservations
from airflow_provider_smspartner.triggers.reservations import CreditsReservationTrigger
from tests.conftest import Connect
from tests.unit.triggers.conftest import POLLS, EnoughPolls

HOUR = timedelta(hours=1)
ONE_EACH = {"sms": 1, "sms_low_cost": 1, "hlr": 1}
CONN_ID = "smspartner_default"
NOTHING = Credits(0, None, None, 0, None, None)
INTERVAL = 30


@pytest.fixture
def account(connect: Connect) -> Iterator[SMSPartnerSandbox]:
    """An account of 100 SMS, at a price of 1."""
    with SMSPartnerSandbox(balance="100", prices=ONE_EACH) as sandbox:
        connect(sandbox, max_retries=0)
        yield sandbox


@pytest.fixture
def ledger_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    connection = {"conn_type": "sqlite", "host": str(tmp_path / "ledger.db")}
    monkeypatch.setenv("AIRFLOW_CONN_LEDGER", json.dumps(connection))
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(ledger_file: Path) -> Iterator[Ledger]:
    with CreditReservationsHook("ledger").ledger() as ledger:
        yield ledger


class Gates:
    """Gates of one account that wait in a triggerer, whose shared stream is handed to each of them."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.names: dict[str, str] = {}

    def ask(self, name: str, amount: int = 30, credits: Credits = NOTHING, **told: Any) -> str:
        """Ask on a worker, in vain if there is no credit; return the id."""
        asked: dict[str, Any] = {"hold_for": HOUR, "seen_for": HOUR} | told
        request = Request(CONN_ID, CONN_ID, CreditRequirement(amount), holder=name, **asked)
        self.ledger.grant(request, credits, self.ledger.note(CONN_ID))
        self.names[request.reservation_id] = name
        return request.reservation_id

    async def poll(self, after_each: Callable[[int], object] = lambda number: None) -> list[tuple[str, str]]:
        """Poll until the pauses have an end; return who got which event, in this order."""
        triggers = [trigger(reservation_id) for reservation_id in self.names]
        queues: list[asyncio.Queue[Any]] = [asyncio.Queue() for _ in triggers]
        listeners = [asyncio.ensure_future(self._listen(*each)) for each in zip(triggers, queues, strict=True)]
        await asyncio.sleep(0)
        _, kwargs = triggers[0].serialize()
        number = 0
        with suppress(EnoughPolls):
            async for each in CreditsReservationTrigger.open_shared_stream(kwargs):
                for queue in queues:
                    queue.put_nowait(each)
                await self._heard(queues, listeners)
                number += 1
                after_each(number)
        for listener in listeners:
            listener.cancel()
        await asyncio.gather(*listeners, return_exceptions=True)
        return [(name, event["status"]) for name, event in self.events]

    async def _heard(self, queues: list[asyncio.Queue[Any]], listeners: list[asyncio.Future[None]]) -> None:
        """Return when each listener has heard the last round, or has ended."""
        for queue, listener in zip(queues, listeners, strict=True):
            heard = asyncio.ensure_future(queue.join())
            await asyncio.wait([heard, listener], return_when=asyncio.FIRST_COMPLETED)
            heard.cancel()

    async def _listen(self, trigger: CreditsReservationTrigger, queue: asyncio.Queue[Any]) -> None:
        async def stream() -> AsyncIterator[Any]:
            while True:
                yield await queue.get()
                queue.task_done()  # as the next one is asked for

        async for event in trigger.filter_shared_stream(stream()):
            json.dumps(event.payload)
            self.events.append((self.names[trigger.reservation_id], event.payload))


@pytest.fixture
def gates(account: SMSPartnerSandbox, ledger: Ledger) -> Gates:
    return Gates(ledger)


def trigger(reservation_id: str = "id", **told: Any) -> CreditsReservationTrigger:
    arguments = {
        "smspartner_conn_id": CONN_ID,
        "reservations_conn_id": "ledger",
        "reservations_table": "smspartner_credit_reservations",
        "poke_interval": INTERVAL,
    }
    return CreditsReservationTrigger(reservation_id=reservation_id, **arguments | told)


async def events_of(waiting: CreditsReservationTrigger) -> list[dict[str, Any]]:
    """Run a trigger alone, as before Airflow 3.3, until it ends or has polled often enough."""
    events: list[dict[str, Any]] = []
    with suppress(EnoughPolls):
        async for event in waiting.run():
            events += [event.payload]
    return events


@pytest.fixture
def visits(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """Collect the visits to the ledger, as the threads that they are made in."""
    made: list[threading.Thread] = []
    whole = Visits.visit

    def visit(self: Visits, account: str, work: Any) -> Any:
        made.append(threading.current_thread())
        return whole(self, account, work)

    monkeypatch.setattr(Visits, "visit", visit)
    return made


async def test_any_number_of_gates_share_one_reading_and_one_visit_an_interval(
    gates: Gates, account: SMSPartnerSandbox, pauses: list[float], visits: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    refreshed: list[int] = []
    whole = Visit.update_waiting
    for number in range(20):
        gates.ask(f"gate {number}", 500)
    visits.clear()
    monkeypatch.setattr(
        Visit, "update_waiting", lambda visit, ids, **told: (refreshed.append(len(ids)), whole(visit, ids, **told))
    )
    assert await gates.poll() == []
    assert (account.requests, len(visits), refreshed) == (POLLS, POLLS, [20] * POLLS)
    assert pauses == [INTERVAL] * POLLS


async def test_no_sql_is_waited_for_on_the_event_loop(
    gates: Gates, pauses: list[float], visits: list[threading.Thread]
) -> None:
    gates.ask("gate")
    visits.clear()
    assert await gates.poll() == [("gate", "met")]
    assert visits
    assert threading.current_thread() not in visits


async def test_as_many_are_called_as_can_be_granted_in_the_order_in_which_they_came(
    gates: Gates, pauses: list[float]
) -> None:
    for name in ("first", "second", "third", "fourth", "fifth"):
        gates.ask(name)
    gates.ask("urgent", 30, priority=1)
    assert {name for name, _ in await gates.poll()} == {"urgent", "first", "second"}
    waiting = {row.holder: row.called_until_us is not None for row in gates.ledger.reservations()}
    assert waiting == {"first": True, "second": True, "third": False, "fourth": False, "fifth": False, "urgent": True}


async def test_a_called_gate_reserves_by_its_event_without_another_reading(
    gates: Gates, account: SMSPartnerSandbox, pauses: list[float]
) -> None:
    gates.ask("gate", 60)
    await gates.poll()
    ((_, event),) = gates.events
    requests = account.requests
    request = Request(CONN_ID, CONN_ID, CreditRequirement(60), holder="gate", hold_for=HOUR)
    outcome = CreditReservationsHook("ledger").decide(request, event["reading"], event["note"])
    assert outcome.reservation is not None
    assert (outcome.reservation.state, account.requests) == ("held", requests)


async def test_a_top_up_calls_those_that_it_covers(
    gates: Gates, account: SMSPartnerSandbox, pauses: list[float]
) -> None:
    gates.ask("gate", 130)
    gates.ask("giant", 900)
    assert await gates.poll(lambda number: account.top_up(50) if number == 2 else None) == [("gate", "met")]
    assert len(pauses) == POLLS


async def test_a_gate_whose_event_was_lost_is_called_again(gates: Gates, pauses: list[float]) -> None:
    """Its triggerer died after the call; meanwhile nobody else can take what is kept for it."""
    called = gates.ask("called", 60)
    note = gates.ledger.note(CONN_ID)
    assert gates.ledger.call(CONN_ID, [called], Credits(100, None, None, 0, None, None), note, HOUR)
    gates.ask("behind", 60)
    assert await gates.poll() == [("called", "met")]


async def test_a_gate_whose_row_is_gone_is_sent_back_to_ask_anew(gates: Gates, pauses: list[float]) -> None:
    gates.ledger.release(gates.ask("lost", 500))
    await gates.poll()
    ((_, event),) = gates.events
    assert (event["status"], event["note"]) == ("met", None)


async def test_a_gate_that_holds_already_is_sent_back_to_find_that_out(gates: Gates, pauses: list[float]) -> None:
    """Its worker died between the grant and the end of the task."""
    gates.ask("held", 60, Credits(100, None, None, 0, None, None))
    assert await gates.poll() == [("held", "met")]


async def test_a_place_is_kept_past_the_next_poll_for_another_triggerer_to_take_over(
    gates: Gates, pauses: list[float]
) -> None:
    gates.ask("gate", 500, seen_for=timedelta(0))
    await gates.poll()
    (row,) = gates.ledger.reservations()
    ahead = row.seen_until_us - gates.ledger.note(CONN_ID).at_us
    assert INTERVAL + 60 < ahead / 1_000_000 <= INTERVAL + 120


async def test_a_gate_that_has_ended_loses_its_place_by_and_by(
    gates: Gates, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not refreshed any more by those that still wait."""
    refreshed: list[set[str]] = []
    whole = Ledger.poll
    gates.ask("soon called", 60)
    gates.ask("giant", 900)

    def poll(ledger: Ledger, account: str, ids: Any, seen_for: timedelta) -> Any:
        refreshed.append({gates.names[each] for each in ids})
        return whole(ledger, account, ids, seen_for)

    monkeypatch.setattr(Ledger, "poll", poll)
    assert await gates.poll() == [("soon called", "met")]
    assert refreshed == [{"soon called", "giant"}, *[{"giant"}] * (POLLS - 1)]
    assert not reservations._waiting[trigger().shared_stream_key()]


async def test_a_ledger_that_is_away_is_waited_for(
    gates: Gates, account: SMSPartnerSandbox, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    away = {"conn_type": "postgres", "host": "127.0.0.1", "port": 1, "login": "x", "password": "x", "schema": "x"}
    back = {"conn_type": "sqlite", "host": gates.ledger.engine.url.database}
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)
    monkeypatch.setenv("AIRFLOW_CONN_LEDGER", json.dumps(away))
    gates.ask("gate")

    def return_it(number: int) -> None:
        if number == 2:
            monkeypatch.setenv("AIRFLOW_CONN_LEDGER", json.dumps(back))

    assert await gates.poll(return_it) == [("gate", "met")]
    assert account.requests == POLLS - 2
    assert all(pause <= INTERVAL for pause in pauses)


async def test_an_account_that_does_not_answer_is_waited_for(
    gates: Gates, account: SMSPartnerSandbox, pauses: list[float]
) -> None:
    account.fail_next(times=2, http_status=503)
    gates.ask("gate")
    assert await gates.poll() == [("gate", "met")]


async def test_a_permanent_error_of_the_account_ends_every_gate(
    gates: Gates, account: SMSPartnerSandbox, pauses: list[float]
) -> None:
    account.fail_next(times=None, http_status=401)
    for name in ("one", "two"):
        gates.ask(name)
    assert await gates.poll() == [("one", "error"), ("two", "error")]
    assert isinstance(from_event(gates.events[0][1]["error"]), SMSPartnerAccessError)


async def test_a_permanent_error_of_the_ledger_ends_every_gate(
    gates: Gates, ledger_file: Path, pauses: list[float]
) -> None:
    gates.ask("gate")
    with closing(sqlite3.connect(ledger_file)) as database:
        database.execute("DROP TABLE smspartner_credit_reservations_deductions")
    assert await gates.poll() == [("gate", "error")]
    error = from_event(gates.events[0][1]["error"])
    assert isinstance(error, SMSPartnerConfigurationError)
    assert "it is not there, and create_table is False" in str(error)


async def test_a_fault_of_ours_ends_no_gate(gates: Gates, pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(Ledger, "poll", fail)
    gates.ask("gate")
    assert await gates.poll() == []


async def test_a_trigger_alone_does_the_same(gates: Gates, account: SMSPartnerSandbox, pauses: list[float]) -> None:
    """Before Airflow 3.3 each has a poll of its own."""
    gate, giant = gates.ask("gate", 60), gates.ask("giant", 900)
    (event,) = await events_of(trigger(gate))
    assert (event["status"], event["reading"]["sms"], account.requests) == ("met", 100, 1)
    assert await events_of(trigger(giant)) == []
    assert account.requests == 1 + POLLS
    assert not reservations._waiting[trigger().shared_stream_key()]


async def test_a_cancelled_trigger_is_forgotten_and_has_closed_its_ledger(
    gates: Gates, account: SMSPartnerSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = threading.Event()
    whole = Ledger.close
    monkeypatch.setattr(Ledger, "close", lambda ledger: (whole(ledger), closed.set()))
    waiting = asyncio.ensure_future(events_of(trigger(gates.ask("giant", 900))))
    await asyncio.to_thread(account.wait_for_requests, 1, timeout=20)
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    assert closed.is_set()
    assert not reservations._waiting[trigger().shared_stream_key()]


def test_only_gates_of_one_ledger_account_and_interval_share_a_poll() -> None:
    same = trigger("one").shared_stream_key()
    assert trigger("two").shared_stream_key() == same
    others = [
        trigger(**{name: "other"}).shared_stream_key()
        for name in ("smspartner_conn_id", "reservations_conn_id", "reservations_table", "schema")
    ]
    assert len({same, trigger(poke_interval=31).shared_stream_key(), *others}) == 6


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"reservation_id": None}, "reservation_id is of type NoneType"),
        ({"smspartner_conn_id": ""}, "smspartner_conn_id is ''"),
        ({"reservations_conn_id": 5}, "reservations_conn_id is of type int"),
        ({"reservations_table": " x"}, "reservations_table is ' x'"),
        ({"schema": 5}, "schema is of type int"),
        ({"poke_interval": 0}, "poke_interval is 0"),
        ({"poke_interval": float("nan")}, "poke_interval is nan"),
        ({"colour": "red"}, "CreditsReservationTrigger knows no argument 'colour'"),
    ],
    ids=str,
)
def test_arguments_that_make_no_sense_are_refused_by_an_error_that_a_triggerer_survives(
    told: dict[str, Any], says: str
) -> None:
    with pytest.raises(SMSPartnerArgumentError, match=f"^{says}") as refused:
        trigger(**told)
    assert isinstance(refused.value, TypeError)
