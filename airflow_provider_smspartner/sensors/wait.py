"""One wait of a gate: when it began, through how many processes it ever goes, and what is counted of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self

from airflow.providers.common.compat.sdk import AirflowSensorTimeout, AirflowSkipException, AirflowTaskTimeout

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseSensorOperator, Context


@dataclass
class Wait:
    """
    The wait of one gate.

    :param conn_id: the account that it waits for
    :param since: when it began
    :param is_resumed: whether another process began it
    """

    conn_id: str
    since: datetime
    is_resumed: bool = False
    _is_counted: bool = False
    _has_failed: bool = False

    @classmethod
    def begin(cls, gate: BaseSensorOperator, conn_id: str, context: Context, *, defers: bool) -> Self:
        """Return the wait of a gate that is executed: in reschedule mode, for the first time or once more."""
        from airflow_provider_smspartner import metrics

        # Airflow itself looks up when it began, too: a second time for metrics and deferrals alone.
        is_asked = gate.reschedule and (defers or metrics.are_on())
        rescheduled = _first_reschedule(gate, context) if is_asked else None
        return cls(conn_id, rescheduled or datetime.now(UTC), is_resumed=rescheduled is not None)

    @classmethod
    def resume(cls, conn_id: str, since: str | None) -> Self:
        """Return the wait of a gate that comes back from the triggerer."""
        return cls(conn_id, datetime.fromisoformat(since) if since else datetime.now(UTC), is_resumed=True)

    def left(self, patience: timedelta) -> timedelta:
        """Return what is left of the time: a gate that was called in vain does not begin anew."""
        spent = datetime.now(UTC) - self.since if self.is_resumed else timedelta()
        return max(patience - spent, timedelta(seconds=1))

    def shut(self) -> None:
        """Note that the gate did not open: it waits from its first reading on."""
        from airflow_provider_smspartner import metrics

        if not (self.is_resumed or self._is_counted):
            self._is_counted = True
            metrics.count("gates.waiting", conn_id=self.conn_id)

    def needs_action(self) -> None:
        """Note a permanent error, which ends the wait."""
        from airflow_provider_smspartner import metrics

        self._has_failed = True
        metrics.count("gates.failed", conn_id=self.conn_id)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count how the wait ends, where this process ends it: a deferral and a reschedule do not."""
        from airflow_provider_smspartner import metrics

        try:
            yield
        except (AirflowSensorTimeout, AirflowTaskTimeout, AirflowSkipException):
            # soft_fail and never_fail skip on a permanent error too.
            if not self._has_failed:
                metrics.count("gates.timed_out", conn_id=self.conn_id)
            raise
        metrics.count("gates.opened", conn_id=self.conn_id)
        metrics.time("gates.wait", (datetime.now(UTC) - self.since).total_seconds(), conn_id=self.conn_id)


def _first_reschedule(gate: BaseSensorOperator, context: Context) -> datetime | None:
    """Return when a gate began that was rescheduled since, as its timeout counts: over its retries, too."""
    ti = context["ti"]
    if hasattr(ti, "get_first_reschedule_date"):
        rescheduled: datetime | None = ti.get_first_reschedule_date(context)
        return rescheduled
    from airflow.sensors.base import _orig_start_date  # type: ignore[import-not-found]  # Airflow 2's

    first_try = (ti.max_tries or 0) - (gate.retries or 0) + 1
    began: datetime | None = _orig_start_date(ti.dag_id, ti.task_id, ti.run_id, ti.map_index, first_try)
    return began
