"""Pauses that a test does not sit through."""

from __future__ import annotations

import asyncio

import pytest

POLLS = 4
"""Polls after which a wait that goes on is cut short."""


class EnoughPolls(BaseException):
    """Ends a wait, past all that takes an error for one of the poll's."""


@pytest.fixture
def pauses(pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """End the wait where the pause after the last poll begins."""
    collect = asyncio.sleep

    async def pause(seconds: float, result: object = None) -> None:
        await collect(seconds)
        if len(pauses) == POLLS:
            raise EnoughPolls

    monkeypatch.setattr("asyncio.sleep", pause)
    return pauses
