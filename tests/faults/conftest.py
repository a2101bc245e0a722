"""Tell at the end how much of the matrix was held to."""

from __future__ import annotations

import pytest

from tests.faults.faults import FAULTS, Mode

REQUESTS = "requests"
"""The property of a cell's report: how often its fault was met."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    passed = [dict(report.user_properties) for report in terminalreporter.getreports("passed")]
    met = [properties[REQUESTS] for properties in passed if REQUESTS in properties]
    terminalreporter.write_line(
        f"{len(FAULTS)} faults in {len(Mode)} modes: {len(met)} of {len(FAULTS) * len(Mode)} cells hold, "
        f"{sum(met):,} requests counted"
    )
