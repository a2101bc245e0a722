"""The trigger: what it asks, how long it pauses, what it fires, against the sandbox on an event loop."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import re
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_smspartner.account import Account, Credits, User
from airflow_provider_smspartner.exceptions import (
    SMSPartnerAccessError,
    SMSPartnerArgumentError,
    SMSPartnerConfigurationError,
    SMSPartnerRejectedError,
    SMSPartnerUnavailableError,
    from_event,
)
from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from airflow_provider_smspartner.triggers.credits import CreditsTrigger
from airflow_provider_smspartner.triggers.readings import Reading
from tests.servers import Clients
from tests.unit.triggers.conftest import POLLS, EnoughPolls


async def events_of(trigger: CreditsTrigger) -> list[dict[str, Any]]:
    """Run a trigger as the triggerer does, until it ends or has polled often enough; return what it fired."""
    events: list[dict[str, Any]] = []
    try:
        async for event in trigger.run():
            events += [event.payload]
    except EnoughPolls:
        events.append({"status": "still waiting"})
    return events


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"http_status": 401}, SMSPartnerAccessError),
        ({"http_status": 403}, SMSPartnerAccessError),
        ({"http_status": 404}, SMSPartnerRejectedError),
        ({"body": {"success": False, "code": 10}}, SMSPartnerAccessError),
    ],
)
async def test_an_error_that_needs_a_person_ends_a_gate_with_one_event_and_one_request(
    sandbox: SMSPartnerSandbox, connect: Any, pauses: list[float], fault: dict[str, Any], error: type[Exception]
) -> None:
    connect(sandbox)
    sandbox.fail_next(times=None, **fault)
    (event,) = await events_of(CreditsTrigger(min_credits=1, once=True))
    assert event["status"] == "error"
    raised = from_event(json.loads(json.dumps(event))["error"])
    assert type(raised) is error
    assert "SMS Partner connection 'smspartner_default'" in str(raised)
    assert (sandbox.requests, pauses) == (1, [])


async def test_a_connection_that_is_not_there_ends_a_gate(pauses: list[float]) -> None:
    (event,) = await events_of(CreditsTrigger(min_credits=1, smspartner_conn_id="nowhere", once=True))
    assert isinstance(from_event(event["error"]), SMSPartnerConfigurationError)


async def test_enough_credit_ends_a_gate_with_the_reading(
    sandbox: SMSPartnerSandbox, connect: Any, pauses: list[float]
) -> None:
    connect(sandbox)
    (event,) = await events_of(CreditsTrigger(min_credits="10225.119", credit_type="balance", once=True))
    assert event["status"] == "met"
    assert event["reading"].items() >= {"sms": 269082, "balance": "10225.119", "currency": "EUR"}.items()
    assert (sandbox.requests, pauses) == (1, [])


@pytest.mark.parametrize(("interval", "pause"), [(60, 60), (timedelta(minutes=2), 120), (0.2, 1)])
async def test_too_little_credit_is_asked_for_again_an_interval_later_never_in_a_hot_loop(
    sandbox: SMSPartnerSandbox, connect: Any, pauses: list[float], interval: float | timedelta, pause: float
) -> None:
    connect(sandbox)
    waiting = CreditsTrigger(min_credits=10**9, poke_interval=interval, once=True)
    assert await events_of(waiting) == [{"status": "still waiting"}]
    assert (sandbox.requests, sandbox.connections, pauses) == (POLLS, 1, [pause] * POLLS)


async def test_a_cancelled_trigger_leaves_nothing_behind(
    clients: Clients, sandbox: SMSPartnerSandbox, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    connect(sandbox, host=f"http://127.0.0.1:{clients.port}/v1")
    waiting = asyncio.ensure_future(events_of(CreditsTrigger(min_credits=10**9, once=True)))
    assert await asyncio.to_thread(clients.asked.wait, 10)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await asyncio.to_thread(clients.closed.wait, 10)
    assert "Unclosed" not in caplog.text
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_trigger_that_ends_has_closed_its_connection(
    clients: Clients, sandbox: SMSPartnerSandbox, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    connect(sandbox, host=f"http://127.0.0.1:{clients.port}/v1")
    (event,) = await events_of(CreditsTrigger(min_credits=7, once=True))
    assert event["status"] == "met"
    assert await asyncio.to_thread(clients.closed.wait, 10)
    assert "Unclosed" not in caplog.text  # which asyncio says of a client that was dropped instead


def account(sms: int | None) -> Account:
    credits = Credits(sms=sms, sms_low_cost=None, hlr=1, to_send=None, balance=Decimal(1), currency="EUR")
    return Account(User("someone@example.com", None, None), credits, datetime.now(UTC))


async def stream(readings: Iterable[Reading]) -> AsyncIterator[Reading]:
    for reading in readings:
        yield reading


async def fired(trigger: CreditsTrigger, readings: Iterable[int | None]) -> list[int]:
    """Return the readings that a watcher fired on."""
    shared = stream(account(reading) for reading in readings)
    return [event.payload["reading"]["sms"] async for event in trigger.filter_shared_stream(shared)]


@pytest.mark.parametrize(
    ("arguments", "readings", "expected"),
    [
        ({"direction": "below"}, [60, 49, 48, 47], [49]),
        ({"direction": "below"}, [49, 51, 49, 51, 49], [49, 49, 49]),
        ({"direction": "below", "rearm_margin": 25}, [49, 51, 49, 74, 48, 75, 47], [49, 47]),
        ({"direction": "below"}, [50, 50, 49], [49]),
        ({"direction": "below"}, [None, 60, None, 49, None, 49], [49]),
        ({"direction": "at_least"}, [10, 50, 60, 70], [50]),
        ({"direction": "at_least"}, [49, 50, 49, 50], [50, 50]),
        ({"direction": "at_least", "rearm_margin": 20}, [50, 31, 50, 30, 51, 29, 52], [50, 52]),
        ({}, [80, 90], [80]),
    ],
)
async def test_a_watcher_fires_once_per_crossing_and_is_armed_again_by_the_margin(
    arguments: dict[str, Any], readings: list[int | None], expected: list[int]
) -> None:
    assert await fired(CreditsTrigger(min_credits=50, **arguments), readings) == expected


async def told_by(watcher: CreditsTrigger, readings: Iterable[Reading]) -> list[dict[str, Any]]:
    return [event.payload async for event in watcher.filter_shared_stream(stream(readings))]


REFUSED, AWAY = SMSPartnerAccessError("key refused", code=10), SMSPartnerUnavailableError("away")


async def test_a_watcher_outlives_errors_and_tells_of_one_that_needs_action_and_of_its_end(task_log: Any) -> None:
    watcher = CreditsTrigger(min_credits=50, direction="below")
    readings = [AWAY, account(60), REFUSED, AWAY, REFUSED, AWAY, account(60), account(49), account(48), REFUSED]
    events = await told_by(watcher, readings)
    assert [event["status"] for event in events] == ["unreadable", "readable", "crossed", "unreadable"]
    for event in events:
        assert event.items() >= {"direction": "below", "min_credits": 50, "credit_type": "sms"}.items()
        assert event["smspartner_conn_id"] == "smspartner_default"
        assert json.loads(json.dumps(event)) == event
    assert from_event(events[0]["error"]).code == 10
    assert events[0]["reading"] is None
    assert [event["reading"]["sms"] for event in events[1:3]] == [60, 49]
    assert "Permanent error, needs action: key refused" in task_log()


async def test_the_first_reading_after_an_outage_tells_both_that_it_reads_and_that_credit_is_low() -> None:
    events = await told_by(CreditsTrigger(min_credits=50, direction="below"), [REFUSED, account(49)])
    assert [event["status"] for event in events] == ["unreadable", "readable", "crossed"]


@pytest.mark.parametrize(
    ("arguments", "statuses"),
    [
        ({"direction": "at_least"}, ["crossed"]),
        ({"direction": "at_least", "report_unreadable": True}, ["unreadable", "readable", "crossed"]),
        ({"direction": "below", "report_unreadable": False}, []),
    ],
)
async def test_a_dag_that_starts_on_credit_starts_on_no_error_unless_it_is_asked_to(
    arguments: dict[str, Any], statuses: list[str]
) -> None:
    events = await told_by(CreditsTrigger(min_credits=50, **arguments), [REFUSED, account(60)])
    assert [event["status"] for event in events] == statuses


class Memory:
    """Stands in for Airflow's asset state store, which only a triggerer has; the system test uses the real one."""

    def __init__(self, *, broken: bool = False) -> None:
        self.values: dict[str, Any] = {}
        self.broken = broken
        self.asked = 0

    async def aget(self, key: str, default: Any = None) -> Any:
        self.asked += 1
        if self.broken:
            raise ValueError("2 concrete inlets and outlets")
        return self.values.get(key, default)

    async def aset(self, key: str, value: Any) -> None:
        self.asked += 1
        if self.broken:
            raise ValueError("2 concrete inlets and outlets")
        self.values[key] = value


async def fired_after_restart(memory: Memory | None, readings: list[int], poke_interval: float = 60) -> list[int]:
    watcher = CreditsTrigger(min_credits=50, direction="below", poke_interval=poke_interval)
    watcher.asset_state_store = memory
    return await fired(watcher, readings)


@pytest.fixture
def stored_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Airflow store events at once, as far as the watcher knows."""
    monkeypatch.setattr("airflow_provider_smspartner.triggers.memory.STORED_BY_THEN", 0.0)


@pytest.mark.usefixtures("stored_at_once")
async def test_with_airflow_s_memory_a_restarted_watcher_does_not_fire_again_for_the_same_crossing() -> None:
    memory = Memory()
    assert await fired_after_restart(memory, [49, 48]) == [49]
    assert await fired_after_restart(memory, [48, 47]) == []
    assert await fired_after_restart(memory, [51]) == []
    assert await fired_after_restart(memory, [46]) == [46]


@pytest.mark.usefixtures("stored_at_once")
async def test_a_watcher_is_remembered_under_another_interval_and_as_version_1_0_has_stored_it() -> None:
    memory = Memory()
    assert await fired_after_restart(memory, [49, 48], poke_interval=60) == [49]
    assert await fired_after_restart(memory, [48, 47], poke_interval=30) == []
    assert memory.values == {"smspartner-d1deb550-278c-5c05-810a-76699e4b146e": True}


@pytest.mark.usefixtures("stored_at_once")
async def test_with_airflow_s_memory_a_restarted_watcher_tells_once_that_it_cannot_read_and_once_that_it_can() -> None:
    memory, statuses = Memory(), []
    for readings in ([REFUSED, REFUSED], [REFUSED], [account(60), account(60)], [account(60)], [REFUSED]):
        watcher = CreditsTrigger(min_credits=50, direction="below")
        watcher.asset_state_store = memory
        statuses.append([event["status"] for event in await told_by(watcher, readings)])
    assert statuses == [["unreadable"], [], ["readable"], [], ["unreadable"]]


@pytest.mark.usefixtures("stored_at_once")
async def test_a_memory_that_is_broken_is_asked_once_for_a_change_and_not_at_each_reading() -> None:
    memory = Memory(broken=True)
    assert await fired_after_restart(memory, [49] * 20) == [49]
    assert memory.asked == 3  # for the crossing, for whether it can read, and to keep that it has fired


async def test_a_watcher_is_remembered_to_have_fired_only_once_airflow_has_had_time_to_store_the_event() -> None:
    memory = Memory()
    assert await fired_after_restart(memory, [49, 48, 47]) == [49]
    assert await fired_after_restart(memory, [46]) == [46]


@pytest.mark.parametrize("memory", [None, Memory(broken=True)], ids=["none", "broken"])
@pytest.mark.usefixtures("stored_at_once")
async def test_without_airflow_s_memory_a_restarted_watcher_rather_fires_once_too_often(memory: Memory | None) -> None:
    assert await fired_after_restart(memory, [49, 48]) == [49]
    assert await fired_after_restart(memory, [48, 47]) == [48]


@pytest.mark.usefixtures("stored_at_once")
async def test_two_thresholds_of_one_asset_are_remembered_apart() -> None:
    memory = Memory()
    for minimum in (50, 20):
        watcher = CreditsTrigger(min_credits=minimum, direction="below")
        watcher.asset_state_store = memory
        await fired(watcher, [10, 10])
    assert len(memory.values) == 2


async def test_gates_on_one_stream_each_decide_for_themselves() -> None:
    readings = [SMSPartnerUnavailableError("away"), account(60), account(600)]
    low, high = (CreditsTrigger(min_credits=minimum, once=True) for minimum in (50, 500))
    low_events = [event.payload["reading"]["sms"] async for event in low.filter_shared_stream(stream(readings))]
    high_events = [event.payload["reading"]["sms"] async for event in high.filter_shared_stream(stream(readings))]
    assert (low_events, high_events) == ([60], [600])


def test_triggers_on_one_connection_and_interval_share_a_stream_whatever_they_wait_for() -> None:
    one = CreditsTrigger(min_credits=1, poke_interval=60, once=True).shared_stream_key()
    assert one == CreditsTrigger(min_credits=9, poke_interval=60.0, direction="below").shared_stream_key()
    assert one != CreditsTrigger(min_credits=1, poke_interval=30, once=True).shared_stream_key()
    assert one != CreditsTrigger(min_credits=1, smspartner_conn_id="other", poke_interval=60).shared_stream_key()


def test_a_trigger_comes_back_from_its_arguments_unchanged() -> None:
    trigger = CreditsTrigger(
        min_credits=Decimal("12.50"),
        credit_type="balance",
        smspartner_conn_id="other",
        poke_interval=5,
        direction="below",
        rearm_margin="2.5",
    )
    classpath, arguments = trigger.serialize()
    module, _, name = classpath.rpartition(".")
    again = getattr(importlib.import_module(module), name)(**json.loads(json.dumps(arguments)))
    assert again.serialize() == (classpath, arguments)
    assert again.requirement == trigger.requirement


def test_the_arguments_of_version_1_0_keep_loading() -> None:
    """Deferred gates outlive an upgrade: what an old triggerer stored must load for ever. Add versions, change none."""
    trigger = CreditsTrigger(
        min_credits=5000,
        credit_type="sms",
        subtract_pending=False,
        smspartner_conn_id="smspartner_default",
        poke_interval=60.0,
        direction="at_least",
        rearm_margin=0,
        once=True,
    )
    assert trigger.requirement.min_credits == 5000


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"direction": "above"}, "use one of 'at_least', 'below'"),
        ({"direction": ["below"]}, "use one of 'at_least', 'below'"),
        ({"rearm_margin": 50}, "must be below min_credits"),
        ({"rearm_margin": -1}, "rearm_margin is -1"),
        ({"rearm_margin": None}, "rearm_margin is of type NoneType"),
        ({"credit_type": "euro"}, "credit_type is 'euro'"),
        ({"credit_type": {"__type": "enum"}}, "credit_type is {"),
        ({"min_credits": "{{ params.n }}"}, "min_credits is '{{ params.n }}'"),
        ({"min_credits": None}, "min_credits is of type NoneType"),
        ({"min_credits": {"__var": 5}}, "min_credits is of type dict"),
        ({"min_credits": 10**5000}, "min_credits is <int>"),
        ({"subtract_pending": "yes"}, "subtract_pending is 'yes'"),
        ({"smspartner_conn_id": None}, "smspartner_conn_id is of type NoneType"),
        ({"smspartner_conn_id": ["a"]}, "smspartner_conn_id is of type list"),
        ({"poke_interval": 0}, "poke_interval is 0"),
        ({"poke_interval": -5}, "poke_interval is -5"),
        ({"poke_interval": float("nan")}, "poke_interval is nan"),
        ({"poke_interval": float("inf")}, "poke_interval is inf"),
        ({"poke_interval": "60"}, "poke_interval is '60'"),
        ({"poke_interval": None}, "poke_interval is None"),
        ({"once": "False"}, "once is 'False'"),
        ({"once": True, "direction": "below"}, "once ends with the first event"),
        ({"once": True, "rearm_margin": 5}, "once ends with the first event"),
        ({"once": True, "report_unreadable": True}, "once ends with the first event"),
        ({"report_unreadable": "no"}, "report_unreadable is 'no'"),
        ({"min_credit": 5}, "knows no argument 'min_credit'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-",
)
def test_arguments_that_make_no_sense_are_refused_as_a_triggerer_survives_it(
    arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises(SMSPartnerArgumentError) as refusal:
        CreditsTrigger(**{"min_credits": 50} | arguments)
    assert told in str(refusal.value)
    assert isinstance(refusal.value, TypeError)  # all that Airflow catches around a trigger's constructor


async def test_neither_log_nor_repr_nor_event_holds_the_key_or_a_name(
    sandbox: SMSPartnerSandbox, connect: Any, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    for logger in ("", "aiohttp"):
        caplog.set_level(logging.DEBUG, logger)
    connect(sandbox)
    trigger = CreditsTrigger(min_credits=1, once=True)
    told = f"{trigger!r} {await events_of(trigger)} {caplog.text} {capfd.readouterr()}"
    assert "269082 sms available" in told
    assert "S3cr3t" not in told
    assert "sandbox@" not in told


async def test_a_trigger_logs_what_is_new_and_repeats_itself_only_now_and_then(
    sandbox: SMSPartnerSandbox, connect: Any, pauses: list[float], task_log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(sandbox)
    assert await events_of(CreditsTrigger(min_credits=10**9, once=True)) == [{"status": "still waiting"}]
    told_once = task_log().count("269082 sms available")  # more than 1 where an old Airflow both prints and logs it
    assert (sandbox.requests, told_once > 0) == (POLLS, True)
    pauses.clear()
    monkeypatch.setattr("airflow_provider_smspartner.hooks.smspartner.TOLD_AGAIN_AFTER", 0)
    assert await events_of(CreditsTrigger(min_credits=10**9, once=True)) == [{"status": "still waiting"}]
    assert task_log().count("269082 sms available") == POLLS * told_once


async def test_an_outage_is_logged_once_and_counted(task_log: Any) -> None:
    outage = [SMSPartnerUnavailableError(cause) for cause in ("no network", "no network", "no answer")]
    readings = [*outage, account(9), SMSPartnerUnavailableError("no network")]
    await told_by(CreditsTrigger(min_credits=50, once=True), readings)
    counts = re.findall(r"Transient error, (\d+) in a row, the wait goes on: (no \w+)", task_log())
    # Where an old Airflow both prints and logs a line, it stands there twice.
    assert list(dict.fromkeys(counts)) == [("1", "no network"), ("3", "no answer")]
    assert len(counts) % 3 == 0
