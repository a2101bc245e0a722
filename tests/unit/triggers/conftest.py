"""Pauses that a test does not sit through."""

from __future__ import annotations

import asyncio

import pytest

POLLS = 4
"""Polls after which a wait that goes on is cut short."""


class EnoughPolls(BaseException):
    """Ends a wait, past all that takes an error for one of the poll's."""


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Collect the pauses instead of sitting through them, and end the wait where the one after the last poll begins."""
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def pause(seconds: float, result: object = None) -> None:
        if seconds:
            pauses.append(seconds)
        if len(pauses) == POLLS:
            raise EnoughPolls
        await sleep(0)

    monkeypatch.setattr("asyncio.sleep", pause)
    return pauses
