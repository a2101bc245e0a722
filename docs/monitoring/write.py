"""Write the table of metrics, and the mapping that StatsD's exporter needs: ``python -m docs.monitoring.write``."""

from __future__ import annotations

from pathlib import Path

from airflow_provider_smspartner.metrics import METRICS, PREFIX, Metric
from docs.csv_tables import csv_text

FOLDER = Path(__file__).parent
ENDINGS = {"gauge": "", "counter": "_total", "timer": "_seconds"}


def files() -> dict[str, str]:
    """Return the files, by their names."""
    return {"metrics.csv": _table(), "statsd-mapping.yml": _mapping()}


def prometheus_name(name: str, metric: Metric) -> str:
    """Return what the metric is called in Prometheus."""
    return f"airflow_{PREFIX}{name}".replace(".", "_") + ENDINGS[metric.kind]


def _table() -> str:
    rows = [("metric", "kind", "tags", "unit", "meaning")]
    for name, metric in METRICS.items():
        tags = ", ".join(f"``{tag}``" for tag in metric.tags)
        rows.append((f"``{PREFIX}{name}``", metric.kind, tags, metric.unit, metric.meaning))
    return csv_text(rows)


def _mapping() -> str:
    lines = [
        "# For Prometheus' statsd_exporter: takes the tags out of the names that StatsD gets.",
        "mappings:",
    ]
    for name, metric in METRICS.items():
        lines += [
            f"  - match: airflow.{PREFIX}{name}{'.*' * len(metric.tags)}",
            f"    name: {prometheus_name(name, metric)}",
            "    labels:",
            *(f"      {tag}: ${number}" for number, tag in enumerate(metric.tags, start=1)),
        ]
    lines += ["  # The same without tags: the last account that was read, whichever that is."]
    for name in METRICS:
        lines += [f"  - match: airflow.{PREFIX}{name}", "    name: dropped", "    action: drop"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for name, text in files().items():
        (FOLDER / name).write_text(text)
