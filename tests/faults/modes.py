"""Meet a fault in each mode, with the real sensor, trigger, operator and hook, and tell what came of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.exceptions import AirflowRescheduleException
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSensorTimeout, TaskDeferred

from airflow_provider_smspartner.exceptions import SMSPartnerError
from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook
from airflow_provider_smspartner.operators.credits import CreditsToSqlOperator
from airflow_provider_smspartner.sensors.credits import CreditsSensor
from airflow_provider_smspartner.triggers.credits import CreditsTrigger
from airflow_provider_smspartner.triggers.readings import LONGEST_PAUSE
from tests.faults.faults import Fault, Mode, Verdict

try:
    from airflow.triggers.shared_stream import SharedStreamManager
except ImportError:  # before Airflow 3.3
    SharedStreamManager = None

READINGS = 2
"""Readings that a waiting mode takes before its fault is over: enough for a pause to grow."""
INTERVAL = 60.0
MAX_RETRIES = 1
PATIENCE = timedelta(hours=3)

Range = tuple[float, float]

TASK = {
    "ti": SimpleNamespace(
        dag_id="faults",
        task_id="task",
        run_id="manual",
        map_index=-1,
        max_tries=1,
        try_number=1,
        get_first_reschedule_date=lambda _: None,
    )
}
"""What Airflow tells a task of itself when it runs for the first time."""


class Clock:
    """Notes pauses instead of sitting through them, as many as it is told to; in the last one something happens."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pauses: list[float] = []
        self._skipped = 0
        self._in_the_last: Callable[[], None] = lambda: None
        self._sleep_on_a_loop = asyncio.sleep
        monkeypatch.setattr("time.sleep", self._pause)
        monkeypatch.setattr("asyncio.sleep", self._pause_on_a_loop)

    def skip(self, pauses: int, in_the_last: Callable[[], None] = lambda: None) -> None:
        """Skip so many pauses from now on."""
        self._skipped, self._in_the_last = len(self.pauses) + pauses, in_the_last

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        assert len(self.pauses) <= self._skipped, f"a request too many is about to come, after {self.pauses}"
        if len(self.pauses) == self._skipped:
            self._in_the_last()

    async def _pause_on_a_loop(self, seconds: float, result: object = None) -> None:
        if seconds and len(self.pauses) < self._skipped:
            self._pause(seconds)
            seconds = 0
        # The pause after the one that counted last is a real one: whoever waits there is cancelled.
        await self._sleep_on_a_loop(seconds)


@dataclass
class Course:
    """
    What came of a fault in one mode, and what had to.

    :param readings: taken while the fault was on
    :param expected_pauses: from which to which number of seconds each had to be
    :param told: the reading, row, event or text that came of it, when the fault was on or after it
    :param requests: made while the fault was on
    """

    states: list[str] = field(default_factory=list)
    readings: int = 0
    expected_pauses: list[Range] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)
    told: Any = None
    requests: int = 0


@dataclass
class Encounter:
    """
    One fault met in one mode.

    :param end: ends the fault, and returns the requests made until then
    """

    fault: Fault
    clock: Clock
    end: Callable[[], int]
    course: Course = field(default_factory=Course)

    @property
    def waits(self) -> bool:
        """Whether a gate waits for it to be over."""
        return self.fault.verdict in (Verdict.TRANSIENT, Verdict.NOT_ENOUGH)

    def expect_reading(self, *pause_after: Range) -> int:
        """Expect one reading with its pauses, and the one after it; return their number."""
        asked_to = min(self.fault.retry_after, 30)
        # A date comes nearer as the test runs.
        in_call = [(max(0.5, asked_to - 5), max(1.0, asked_to))] * (MAX_RETRIES if self.fault.retried else 0)
        self.course.readings += 1
        self.course.expected_pauses += [*in_call, *pause_after]
        return len(in_call) + len(pause_after)

    def over(self) -> None:
        """End the fault."""
        self.course.requests = self.end()

    def pause_after_failure(self, failures: int) -> Range:
        """Return the seconds that a trigger pauses after so many failures in a row."""
        if self.fault.verdict is not Verdict.TRANSIENT:
            return INTERVAL, INTERVAL
        asked_to = min(self.fault.retry_after, LONGEST_PAUSE)
        backoff = 5 * 2.0 ** (failures - 1)
        return max(min(0.75 * backoff, INTERVAL), asked_to - 5), max(min(1.25 * backoff, INTERVAL), asked_to)


def _gate(**arguments: Any) -> CreditsSensor:
    return CreditsSensor(task_id="task", min_credits=1, **{"poke_interval": INTERVAL, "timeout": PATIENCE} | arguments)


def _expect_time_out(encounter: Encounter, mode: str) -> None:
    """Hold a gate to its timeout: one that is over after the first reading."""
    encounter.clock.skip(encounter.expect_reading())
    with pytest.raises(AirflowSensorTimeout):
        _gate(mode=mode, timeout=timedelta(microseconds=1)).execute(TASK)


def _attempt(encounter: Encounter, run: Callable[[], Any]) -> str:
    """Run a task once, and return the state that Airflow gives it for that."""
    course = encounter.course
    try:
        course.told = run()
    except AirflowRescheduleException as rescheduled:
        ahead = (rescheduled.reschedule_date - datetime.now(UTC)).total_seconds()
        assert ahead == pytest.approx(INTERVAL, abs=5)
        return "up_for_reschedule"
    except SMSPartnerError as error:
        course.errors.append(error)
        return "failed" if isinstance(error, AirflowFailException) else "up_for_retry"
    return "success"


def poke(encounter: Encounter) -> None:
    if encounter.waits:
        _expect_time_out(encounter, "poke")
        pauses = sum(encounter.expect_reading((INTERVAL, INTERVAL)) for _ in range(READINGS))
        encounter.clock.skip(pauses, in_the_last=encounter.over)
        encounter.course.states.append("running")
    else:
        encounter.expect_reading()
    encounter.course.states.append(_attempt(encounter, lambda: _gate(mode="poke").execute(TASK)))


def reschedule(encounter: Encounter) -> None:
    states: list[str] = []
    if encounter.waits:
        _expect_time_out(encounter, "reschedule")
    for _ in range(READINGS if encounter.waits else 1):
        encounter.clock.skip(encounter.expect_reading())
        states.append(_attempt(encounter, lambda: _gate(mode="reschedule").execute(TASK)))
    if encounter.waits:
        encounter.over()
        states.append(_attempt(encounter, lambda: _gate(mode="reschedule").execute(TASK)))
    encounter.course.states += dict.fromkeys(states)


def deferrable(encounter: Encounter) -> None:
    course, gate = encounter.course, _gate(deferrable=True)
    # A gate that fails on the worker hands nothing over: this is what another, which waits already, handed over.
    handed_over = TaskDeferred(
        trigger=CreditsTrigger(min_credits=1, poke_interval=INTERVAL, once=True),
        method_name="execute_complete",
        timeout=PATIENCE,
    )
    encounter.clock.skip(encounter.expect_reading())
    try:
        course.states.append(_attempt(encounter, lambda: gate.execute(TASK)))
    except TaskDeferred as deferral:
        course.states.append("deferred")
        handed_over = deferral
    assert handed_over.timeout == PATIENCE
    if course.states == ["success"]:
        return
    if encounter.waits:
        pauses = _expect_readings_of_a_trigger(encounter)
        encounter.clock.skip(pauses, in_the_last=encounter.over)
    else:
        encounter.expect_reading()
    event = asyncio.run(_event_of(_again(handed_over.trigger)))
    ended = _attempt(encounter, lambda: gate.resume_execution(handed_over.method_name, {"event": event}, TASK))
    course.states = list(dict.fromkeys([*course.states, ended]))


def event_driven(encounter: Encounter) -> None:
    course, watcher = encounter.course, CreditsTrigger(min_credits=1, poke_interval=INTERVAL)
    if encounter.fault.verdict is Verdict.READ:
        encounter.expect_reading()
    else:
        pauses = _expect_readings_of_a_trigger(encounter)
        encounter.clock.skip(pauses, in_the_last=encounter.over)
        course.states.append("no event")
    event = asyncio.run(_event_of(_again(watcher)))
    course.told = event["reading"]
    course.states.append("event")


def operator(encounter: Encounter) -> None:
    def take_snapshot() -> Any:
        (row,) = CreditsToSqlOperator(task_id="task", sql_conn_id="warehouse").execute(TASK)
        return row

    course = encounter.course
    encounter.clock.skip(encounter.expect_reading())
    course.states.append(_attempt(encounter, take_snapshot))
    if course.states == ["up_for_retry"]:
        encounter.over()
        course.states.append(_attempt(encounter, take_snapshot))


def ask_by_hand(encounter: Encounter) -> None:
    encounter.course.readings = 1
    works, encounter.course.told = SMSPartnerHook().test_connection()
    encounter.course.states.append(str(works))


DRIVERS: Mapping[Mode, Callable[[Encounter], None]] = {
    Mode.POKE: poke,
    Mode.RESCHEDULE: reschedule,
    Mode.DEFERRABLE: deferrable,
    Mode.EVENT_DRIVEN: event_driven,
    Mode.OPERATOR: operator,
    Mode.TEST_CONNECTION: ask_by_hand,
}


def _expect_readings_of_a_trigger(encounter: Encounter) -> int:
    pauses = [encounter.pause_after_failure(failures) for failures in range(1, READINGS + 1)]
    return sum(encounter.expect_reading(pause) for pause in pauses)


def _again(trigger: CreditsTrigger) -> CreditsTrigger:
    """Return a trigger as the triggerer makes it: from what is stored of it."""
    return CreditsTrigger(**json.loads(json.dumps(trigger.serialize()[1])))


async def _event_of(trigger: CreditsTrigger) -> dict[str, Any]:
    """Run a trigger as the triggerer does, up to its first event."""
    async with asyncio.timeout(60):
        if SharedStreamManager is None:
            async with aclosing(trigger.run()) as events:
                return await _first_payload(events)
        manager = SharedStreamManager()
        stream = manager.subscribe(trigger_id=1, trigger=trigger, key=trigger.shared_stream_key())
        try:
            async with aclosing(trigger.filter_shared_stream(stream)) as events:
                return await _first_payload(events)
        finally:
            with suppress(asyncio.CancelledError):
                await manager.stop_all()


async def _first_payload(events: Any) -> dict[str, Any]:
    async for event in events:
        payload: dict[str, Any] = json.loads(json.dumps(event.payload))
        return payload
    raise AssertionError("the trigger ended without an event")
