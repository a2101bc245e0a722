"""What the page of metrics offers for download: as the code has the metrics now, and as Prometheus reads it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from airflow_provider_smspartner.metrics import METRICS
from docs.monitoring.write import files, prometheus_name

FOLDER = Path(__file__).parents[2] / "docs" / "monitoring"
NAMES = {prometheus_name(name, metric) for name, metric in METRICS.items()}
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())


@pytest.fixture
def promtool() -> str:
    """Return the program, which comes with Debian's package prometheus."""
    if found := shutil.which("promtool"):
        return found
    leave_out = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
    return leave_out("there is no promtool on this machine: install Debian's package prometheus")


def check(*command: str) -> None:
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["metrics.csv", "statsd-mapping.yml"])
def test_a_file_is_what_the_code_says(name: str) -> None:
    assert (FOLDER / name).read_text() == files()[name], "run python -m docs.monitoring.write"


def test_each_name_that_arrives_fits_one_entry_of_the_mapping() -> None:
    mappings = yaml.safe_load((FOLDER / "statsd-mapping.yml").read_text())["mappings"]
    for name, metric in METRICS.items():
        series = ".".join(["airflow.smspartner", name, *("x" for _ in metric.tags)])
        fit = [one for one in mappings if re.fullmatch(re.escape(one["match"]).replace(r"\*", r"[^.]*"), series)]
        assert [(one["name"], list(one["labels"])) for one in fit] == [
            (prometheus_name(name, metric), list(metric.tags))
        ]


def test_the_rules_fire_when_they_are_to_and_never_else(promtool: str) -> None:
    check(promtool, "check", "rules", "smspartner.rules.yml")
    check(promtool, "test", "rules", "smspartner.rules.test.yml")


def test_the_rules_and_the_dashboard_name_metrics_that_there_are() -> None:
    text = (FOLDER / "smspartner.rules.yml").read_text() + json.dumps(DASHBOARD)
    assert set(re.findall(r"airflow_smspartner_\w+", text)) <= NAMES


def test_prometheus_can_read_each_query_of_the_dashboard(promtool: str, tmp_path: Path) -> None:
    queries = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    assert len(queries) > len(DASHBOARD["panels"])
    rules = [{"record": f"query_{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "dashboard.rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    check(promtool, "check", "rules", str(file))
