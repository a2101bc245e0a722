"""What this provider measures, through Airflow's own metrics: to StatsD or OpenTelemetry, as ``[metrics]`` says."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_smspartner.exceptions import SMSPartnerError

if TYPE_CHECKING:
    from airflow_provider_smspartner.account import Credits

log = logging.getLogger(__name__)

PREFIX = "smspartner."

_LONGEST_PART = 100
"""Letters of a conn id that a name holds: Airflow drops a metric whose name is longer than 250 letters."""

_ACCOUNT_TAG, _LEDGER_TAG = ("conn_id",), ("account",)


_NOT_COUNTED = nullcontext()


@dataclass(frozen=True)
class Metric:
    """
    One metric.

    :param kind: a gauge holds the last value, a counter adds up, a timer takes milliseconds
    :param unit: what its values count
    :param tags: what tells its series apart, in the order in which a name without tags holds them
    :param meaning: when it is sent, and what it says
    """

    kind: Literal["gauge", "counter", "timer"]
    unit: str
    tags: tuple[str, ...]
    meaning: str


METRICS = {
    "balance": Metric("gauge", "the account's currency", _ACCOUNT_TAG, "The account's balance."),
    "sms": Metric("gauge", "SMS", _ACCOUNT_TAG, "Premium SMS that the balance buys."),
    "sms_low_cost": Metric("gauge", "SMS", _ACCOUNT_TAG, "Low-cost SMS that the balance buys."),
    "hlr": Metric("gauge", "look-ups", _ACCOUNT_TAG, "Number look-ups that the balance buys."),
    "to_send": Metric("gauge", "SMS", _ACCOUNT_TAG, "SMS pending departure."),
    "days_left": Metric(
        "gauge",
        "days",
        ("conn_id", "credit_type"),
        "Days until the credit runs out, on each forecast that there is: none is sent where it is unknown.",
    ),
    "readings": Metric("counter", "readings", _ACCOUNT_TAG, "Readings of the account that succeeded, retries or not."),
    "reading_failures": Metric(
        "counter",
        "readings",
        ("conn_id", "kind"),
        "Readings that failed in the end. The kind is transient with unavailable and response; configuration, access "
        "and rejected need action.",
    ),
    "reading": Metric("timer", "milliseconds", _ACCOUNT_TAG, "How long a reading took, with its retries."),
    "gates.waiting": Metric("counter", "gates", _ACCOUNT_TAG, "Gates that began to wait, in any mode."),
    "gates.opened": Metric("counter", "gates", _ACCOUNT_TAG, "Gates that opened, at once or after a wait."),
    "gates.timed_out": Metric("counter", "gates", _ACCOUNT_TAG, "Gates whose time was over, failed or skipped."),
    "gates.failed": Metric("counter", "gates", _ACCOUNT_TAG, "Gates that ended with an error that needs action."),
    "gates.wait": Metric("timer", "milliseconds", _ACCOUNT_TAG, "How long a gate that opened had waited."),
    "reservations.granted": Metric("counter", "reservations", _LEDGER_TAG, "Reservations that were granted."),
    "reservations.expired": Metric("counter", "reservations", _LEDGER_TAG, "Reservations that ended by themselves."),
    "reservations.released": Metric("counter", "reservations", _LEDGER_TAG, "Reservations that were released."),
    "reservations.held": Metric(
        "gauge", "the account's currency", _LEDGER_TAG, "What campaigns hold together, whenever one asks for credit."
    ),
    "reservations.free": Metric(
        "gauge", "the account's currency", _LEDGER_TAG, "The balance less what campaigns hold, at the same moments."
    ),
}
"""Every metric by its name, to which ``smspartner.`` is prefixed."""


@cache
def are_on() -> bool:
    """Return whether Airflow sends metrics at all: else a reading would pay for a dozen that nobody gets."""
    from airflow.providers.common.compat.sdk import conf

    backends = ("statsd_on", "statsd_datadog_enabled", "otel_on")
    return any(conf.getboolean("metrics", name, fallback=False) for name in backends)


def send_credits(conn_id: str, credits: Credits) -> None:
    """Send the figures of a reading."""
    if not are_on():  # a triggerer takes thousands of readings an hour
        return
    for figure in ("balance", "sms", "sms_low_cost", "hlr", "to_send"):
        gauge(figure, getattr(credits, figure), conn_id=conn_id)


def send_reserved(account: str, sum_up: Callable[[], Decimal | None], balance: Decimal | None) -> None:
    """
    Send what campaigns hold of a ledger's account together, and what that leaves of its balance.

    :param sum_up: returns what they hold; called only where somebody gets it, as a thousand may hold
    """
    if not are_on():
        return
    held = sum_up()
    gauge("reservations.held", held, account=account)
    gauge("reservations.free", None if held is None or balance is None else balance - held, account=account)


def gauge(name: str, value: Decimal | float | None, **tags: str) -> None:
    """Send the value of a gauge; nothing where it is unknown, which is not 0."""
    if value is not None:
        # A picture of money and not money: no metrics system holds a decimal.
        sent = float(value) if isinstance(value, Decimal) else value
        _send(name, tags, lambda stats, series, **told: stats.gauge(series, sent, **told))


def count(name: str, times: int = 1, **tags: str) -> None:
    """Add to a counter."""
    if times > 0:
        _send(name, tags, lambda stats, series, **told: stats.incr(series, times, **told))


def time(name: str, seconds: float, **tags: str) -> None:
    """Send a duration."""
    # As a number, since Airflow 2 sends a timedelta in another unit to OpenTelemetry than to StatsD.
    _send(name, tags, lambda stats, series, **told: stats.timing(series, seconds * 1_000, **told))


def reading_of(conn_id: str) -> AbstractContextManager[None]:
    """Count and time one reading of an account, by how it ends."""
    return _counted_and_timed(conn_id) if are_on() else _NOT_COUNTED


@contextmanager
def _counted_and_timed(conn_id: str) -> Iterator[None]:
    begin = monotonic()
    try:
        yield
    except SMSPartnerError as error:
        count("reading_failures", conn_id=conn_id, kind=kind_of(error))
        raise
    count("readings", conn_id=conn_id)
    time("reading", monotonic() - begin, conn_id=conn_id)


def kind_of(error: SMSPartnerError) -> str:
    """Return one word for the class of an error; ``other`` for a fault that nobody foresaw."""
    return type(error).__name__.removeprefix("SMSPartner").removesuffix("Error").lower() or "other"


def _send(name: str, tags: dict[str, str], send: Callable[..., Any]) -> None:
    """Send both series that Airflow has of a metric: one with tags, one whose name holds them for who drops tags."""
    assert tuple(tags) == METRICS[name].tags  # noqa: S101  # what the documentation tells
    if not are_on():
        return
    series = PREFIX + name
    try:
        from airflow.providers.common.compat.sdk import Stats

        send(Stats, series, tags=tags)
        send(Stats, ".".join([series, *map(_part, tags.values())]))
    except Exception as error:  # noqa: BLE001  # no metric is worth a campaign
        _warn_once(type(error).__name__)


def _part(value: str) -> str:
    """Return a value as one part of a name: a dot would begin another."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", value)[:_LONGEST_PART]


@cache
def _warn_once(error: str) -> None:
    log.warning("Metrics of SMS Partner could not be sent: %s. Look at [metrics] in Airflow's configuration", error)
