"""A trigger that measures the event loop that it shares with the others of its triggerer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TextIO

from airflow.triggers.base import BaseTrigger, TriggerEvent

PAUSE = 0.1
"""Seconds from one wake-up to the next: many more of them would be a part of the CPU that is measured beside it."""


class LagProbe(BaseTrigger):
    """
    Write down how much later than asked for it is woken up, until a moment.

    :param path: the file that gets a line a wake-up: the time, and the seconds that it was late
    :param until: seconds since 1970
    """

    def __init__(self, path: str, until: float) -> None:
        super().__init__()
        self.path = path
        self.until = until

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and its arguments."""
        return f"{LagProbe.__module__}.{LagProbe.__qualname__}", {"path": self.path, "until": self.until}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Measure, and fire at the end."""
        with _lines_to(self.path) as file:
            while time.time() < self.until:
                begin = time.monotonic()
                await asyncio.sleep(PAUSE)
                file.write(f"{time.time()} {time.monotonic() - begin - PAUSE}\n")
        yield TriggerEvent(None)


def _lines_to(path: str) -> TextIO:
    """Open a local file on the event loop itself, as a thread would be one more thing to measure."""
    return Path(path).open("a", buffering=1)
