"""What a watcher has told already, remembered over a restart of the triggerer where Airflow can (3.3 and newer)."""

from __future__ import annotations

import time
from typing import Any, Protocol
from uuid import NAMESPACE_OID, uuid5

STORED_BY_THEN = 5.0
"""Seconds after which Airflow surely has an event in its database; it stores them about once a second."""


class _Watcher(Protocol):
    @property
    def log(self) -> Any: ...


class Latch:
    """
    Whether a watcher has fired for a state that lasts: on from one event to the next, or until it is armed again.

    :param watcher: the trigger; a triggerer gives it Airflow's asset state store
    :param what: a text of its own for each state of each watcher of an asset
    """

    def __init__(self, watcher: _Watcher, what: str) -> None:
        self._watcher = watcher
        self._key = f"smspartner-{uuid5(NAMESPACE_OID, what)}"
        self._is_on: bool | None = None
        self._stored: bool | None = None
        self._store_from = 0.0

    async def is_on(self) -> bool:
        """Return whether it is on, at first as far as Airflow remembers, and store what has changed."""
        if self._is_on is None:
            self._is_on = self._stored = await self._recall()
        elif self._is_on is not self._stored and time.monotonic() >= self._store_from:
            await self._store(self._is_on)
        return self._is_on

    def fired(self, *, is_on: bool) -> None:
        """Note an event. It is stored later: a triggerer that dies before Airflow has the event is to fire again."""
        self._is_on, self._store_from = is_on, time.monotonic() + STORED_BY_THEN

    def arm(self) -> None:
        """Turn it off without an event, which is stored at once."""
        self._is_on, self._store_from = False, 0.0

    async def _recall(self) -> bool:
        store = getattr(self._watcher, "asset_state_store", None)
        if store is None:
            return False
        try:
            return bool(await store.aget(self._key, False))
        except Exception as exc:  # noqa: BLE001  # a watcher without memory fires once too often; a dead one never
            self._watcher.log.warning("What was fired for last could not be looked up (%s)", type(exc).__name__)
            return False

    async def _store(self, is_on: bool) -> None:
        self._stored = is_on
        store = getattr(self._watcher, "asset_state_store", None)
        if store is None:
            return
        try:
            await store.aset(self._key, is_on)
        except Exception as exc:  # noqa: BLE001  # as above
            self._watcher.log.warning("What was fired for last could not be stored (%s)", type(exc).__name__)
