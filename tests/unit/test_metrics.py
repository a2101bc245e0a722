"""What arrives of the metrics where Airflow sends them, and that none of them is in a campaign's way."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_smspartner import metrics
from airflow_provider_smspartner.exceptions import SMSPartnerError, SMSPartnerUnavailableError
from airflow_provider_smspartner.metrics import METRICS, kind_of
from tests.airflow_versions import AIRFLOW
from tests.listeners import Collector, StatsD

ROOT = Path(__file__).parents[2]

# On Airflow 3 the tests on a whole Airflow send to the collector.
LISTENERS = [StatsD, Collector] if AIRFLOW < (3, 0) else [StatsD]

TAGS = {
    "gates.failed": [["revoked"]],
    "reading_failures": [["away", "unavailable"], ["revoked", "access"]],
    "days_left": [["shop.paris", "balance"]],
}
"""What tells the series of a metric apart in ``tests/metered.py``, where it is not its one account."""


COUNTED = {
    "gates.waiting.shop_paris": 5,
    "gates.opened.shop_paris": 5,
    "gates.timed_out.shop_paris": 2,
    "gates.failed.revoked": 1,
    "reservations.granted.shop_paris": 3,
    "reservations.expired.shop_paris": 1,
    "reservations.released.shop_paris": 1,
}
"""What that program is to be counted for."""


def series(*, with_tags: bool) -> set[str]:
    """Return the names of all series that are to arrive."""
    expected = set()
    for name, metric in METRICS.items():
        for values in TAGS.get(name, [["shop.paris"]]):
            tags = ",".join(f"{tag}={value}" for tag, value in zip(metric.tags, values, strict=True))
            expected.add(f"smspartner.{name}{{{tags}}}" if with_tags else f"smspartner.{name}")
            expected.add(".".join(["smspartner", name, *(value.replace(".", "_") for value in values)]))
    return expected


@pytest.mark.parametrize("listener_class", LISTENERS)
def test_every_metric_arrives_with_tags_and_by_name(listener_class: type[StatsD | Collector], tmp_path: Path) -> None:
    with listener_class() as listener:
        settings = {f"AIRFLOW__{name.upper()}": value for name, value in listener.settings.items()}
        environment = os.environ | settings | {"AIRFLOW_HOME": str(tmp_path)}
        ran = subprocess.run(
            [sys.executable, "-m", "tests.metered"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert ran.returncode == 0, ran.stderr
    received = {name: values for name, values in listener.received.items() if name.startswith("smspartner.")}
    assert set(received) == series(with_tags=listener_class is Collector)
    # Three that open and two that time out waited, each counted once, through however many processes it went.
    assert {name: sum(received[f"smspartner.{name}"]) for name in COUNTED} == COUNTED
    assert received["smspartner.balance.shop_paris"][-1] == 3100.5
    assert received["smspartner.reservations.held.shop_paris"][-1] == pytest.approx(30, rel=0.01)
    assert min(received["smspartner.gates.wait.shop_paris"]) > 0


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collect what is handed to Airflow."""
    sent: list[Any] = []

    class Stats:
        @staticmethod
        def gauge(*arguments: Any, **tags: Any) -> None:
            sent.append((*arguments, tags))

    monkeypatch.setattr("airflow.providers.common.compat.sdk.Stats", Stats, raising=False)
    monkeypatch.setattr(metrics, "are_on", lambda: True)
    return sent


def test_nothing_is_handed_to_airflow_where_its_metrics_are_off(
    sent: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    metrics.are_on.cache_clear()
    metrics.gauge("balance", 1, conn_id="paris")
    assert sent == []


def test_an_unknown_figure_is_not_sent(sent: list[Any]) -> None:
    metrics.gauge("balance", None, conn_id="paris")
    assert sent == []
    metrics.gauge("balance", Decimal(0), conn_id="paris")
    assert sent == [
        ("smspartner.balance", 0.0, {"tags": {"conn_id": "paris"}}),
        ("smspartner.balance.paris", 0.0, {}),
    ]


def test_a_conn_id_is_one_part_of_a_name_and_never_too_long_for_airflow(sent: list[Any]) -> None:
    metrics.gauge("sms", 1, conn_id="shop/paris.2:é" + 250 * "x")
    name = sent[1][0]
    assert name.startswith("smspartner.sms.shop_paris_2__xxx")
    assert len(name) < 200


def test_no_metric_is_worth_a_campaign_and_what_is_wrong_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        @staticmethod
        def incr(*_: Any, **__: Any) -> None:
            raise KeyError("a handler of somebody's own")

    monkeypatch.setattr("airflow.providers.common.compat.sdk.Stats", Broken, raising=False)
    monkeypatch.setattr(metrics, "are_on", lambda: True)
    metrics._warn_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            metrics.count("readings", conn_id="paris")
    assert [record.getMessage() for record in caplog.records] == [
        "Metrics of SMS Partner could not be sent: KeyError. Look at [metrics] in Airflow's configuration"
    ]


def test_a_failure_is_counted_by_its_kind() -> None:
    assert [kind_of(SMSPartnerUnavailableError("")), kind_of(SMSPartnerError(""))] == ["unavailable", "other"]
