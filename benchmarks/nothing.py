"""A gate that asks nobody anything: what Airflow itself needs to open many at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.connection import get_async_connection
from airflow.providers.common.compat.sdk import BaseOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class FileGate(BaseOperator):
    """Wait in the triggerer until a file is there."""

    # Airflow stores what the templates of a task have rendered, as it does of ours.
    template_fields = ("path",)

    def __init__(self, *, path: str, poke_interval: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.poke_interval = poke_interval

    def execute(self, context: Context) -> None:
        """Defer."""
        self.defer(trigger=FileIsThere(self.path, self.poke_interval), method_name="resume")

    def resume(self, context: Context, event: object) -> object:
        """Return what the trigger fired."""
        return event


class FileIsThere(BaseTrigger):
    """Fire as soon as a file is there, at which every ``poke_interval`` seconds is looked."""

    def __init__(self, path: str, poke_interval: float) -> None:
        super().__init__()
        self.path = path
        self.poke_interval = poke_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and its arguments."""
        arguments = {"path": self.path, "poke_interval": self.poke_interval}
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and fire."""
        path = Path(self.path)
        while not await asyncio.to_thread(path.exists):  # noqa: ASYNC110 - a file wakes nobody
            await asyncio.sleep(self.poke_interval)
        yield TriggerEvent("open")


class Told(FileIsThere):
    """Look up the connection that is named as the path is, log a line, and wait."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and fire."""
        connection = await get_async_connection(self.path)
        self.log.info("Connection %r: found at %s", connection.conn_id, connection.host)
        async for event in super().run():
            yield event


class LooksUp(FileIsThere):
    """Look up the connection that is named as the path is, every ``poke_interval`` seconds, as our hook does anew."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and never fire."""
        # Here, as workers import this module too, where our hook would not be nothing.
        from airflow_provider_smspartner.hooks.smspartner import SMSPartnerHook

        hook = SMSPartnerHook(self.path)
        while True:
            await hook.areservations_account()
            hook._read_again_at = 0.0
            await asyncio.sleep(self.poke_interval)
        yield TriggerEvent("never")
