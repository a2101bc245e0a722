"""The poll that triggers share: how long it pauses, what it makes of an error, what it leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest

from airflow_provider_smspartner.exceptions import SMSPartnerError, SMSPartnerUnavailableError
from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook
from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from airflow_provider_smspartner.triggers.readings import Pace, Reading, pause_after, poll
from tests.unit.triggers.conftest import POLLS, EnoughPolls


async def readings_of(
    poke_interval: float = 60, after_each: Callable[[int], object] = lambda number: None
) -> list[Reading]:
    """Poll until the pauses have an end; act after each reading, which is counted from 1."""
    readings: list[Reading] = []
    try:
        async for reading in poll("smspartner_default", poke_interval):
            readings.append(reading)
            after_each(len(readings))
    except EnoughPolls:
        return readings
    raise AssertionError("the poll has ended by itself")


WAITED_OUT = {"http_status": 500}, {"http_status": 429}, {"drop": True}, {"body": "<html>"}, {"july_gateway": True}


@pytest.mark.parametrize("fault", WAITED_OUT, ids=str)
async def test_a_transient_error_is_retried_ever_later_up_to_the_interval(
    sandbox: SMSPartnerSandbox, connect: Any, pauses: list[float], fault: dict[str, Any]
) -> None:
    connect(sandbox, max_retries=0)
    sandbox.fail_next(times=None, **fault)
    readings = await readings_of(poke_interval=15)
    assert [isinstance(reading, SMSPartnerError) and reading.retryable for reading in readings] == [True] * POLLS
    assert sandbox.requests == POLLS
    assert 3.75 <= pauses[0] <= 6.25
    assert 7.5 <= pauses[1] <= 12.5
    assert pauses[2:] == [15, 15]


async def test_no_answer_at_all_is_a_transient_error_too(
    sandbox: SMSPartnerSandbox, connect: Any, pauses: list[float]
) -> None:
    connect(sandbox, max_retries=0)
    sandbox.stop()
    assert [isinstance(reading, SMSPartnerUnavailableError) for reading in await readings_of()] == [True] * POLLS


@pytest.mark.parametrize(("asked", "pause"), [("7", 7), ("100", 100), ("31536000", 900)])
async def test_retry_after_holds_up_the_next_poll_within_bounds(
    sandbox: SMSPartnerSandbox, connect: Any, pauses: list[float], asked: str, pause: float
) -> None:
    connect(sandbox, max_retries=0)
    sandbox.fail_next(times=None, http_status=429, headers={"Retry-After": asked})
    await readings_of(poke_interval=60)
    assert pauses[0] == pause


async def test_a_reading_in_between_ends_a_row_of_failures(
    sandbox: SMSPartnerSandbox, connect: Any, pauses: list[float]
) -> None:
    connect(sandbox, max_retries=0)

    def fail_again(number: int) -> None:
        if number >= 2:
            sandbox.fail_next(http_status=500)

    sandbox.fail_next(http_status=500)
    readings = await readings_of(after_each=fail_again)
    assert [isinstance(reading, SMSPartnerError) for reading in readings] == [True, False, True, True]
    assert pauses[1] == 60
    assert 3.75 <= pauses[0] <= 6.25
    assert 3.75 <= pauses[2] <= 6.25
    assert 7.5 <= pauses[3] <= 12.5


@pytest.mark.parametrize(("interval", "tick"), [(60, 0.25), (2, 0.1)])
async def test_accounts_on_one_event_loop_are_asked_at_common_moments_and_none_too_soon(
    sandbox: SMSPartnerSandbox, connect: Any, monkeypatch: pytest.MonkeyPatch, interval: float, tick: float
) -> None:
    loop = asyncio.get_running_loop()
    pauses: list[float] = []
    ends: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        ends.append(loop.time() + seconds)

    for conn_id in ("one", "other"):
        connect(sandbox, conn_id)
    async with aclosing(poll("one", interval)) as one, aclosing(poll("other", interval)) as other:
        for stream in (one, other):
            await anext(stream)
        monkeypatch.setattr("asyncio.sleep", pause)
        for stream in (one, other, one):
            await anext(stream)
    assert len(pauses) == 3
    assert all(interval - 1e-6 <= pause <= interval + tick + 1e-6 for pause in pauses)
    assert [end / tick for end in ends] == pytest.approx([round(end / tick) for end in ends], abs=0.02)


async def test_accounts_that_fail_are_asked_again_at_the_same_moments(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: 1000.1)
    monkeypatch.setattr("random.uniform", lambda least, _: least)
    monkeypatch.setattr("airflow_provider_smspartner.triggers.readings.hooks_here", lambda: 2)
    await Pace(60).pause(SMSPartnerUnavailableError("away"))
    assert pauses == [pytest.approx(1004 - 1000.1)]


@pytest.mark.parametrize("failures", [11, 12, 5_000])
def test_the_pause_after_thousands_of_failures_is_a_number(failures: int) -> None:
    assert pause_after(SMSPartnerUnavailableError("away"), failures, 60) == 60
    assert 3_840 <= pause_after(SMSPartnerUnavailableError("away"), failures, 10**6) <= 6_400


async def test_a_fault_of_ours_ends_no_wait_and_is_told_by_its_class_alone(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: SMSPartnerHook) -> Awaitable[None]:
        raise LookupError("https://api.smspartner.fr/v1/me?apiKey=S3cr3t")

    monkeypatch.setattr(SMSPartnerHook, "aget_account", broken)
    readings = await readings_of()
    assert len(readings) == POLLS
    for reading in readings:
        assert isinstance(reading, SMSPartnerError)
        assert reading.retryable
        assert "failed with LookupError" in str(reading)
        assert "S3cr3t" not in str(reading)
        assert (reading.__cause__, reading.__context__) == (None, None)
