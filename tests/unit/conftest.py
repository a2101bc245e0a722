"""How property tests run: few repeatable inputs in `make test`, many random ones in `make fuzz`, which counts them."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

FUZZ = "fuzz"
MACHINE_MAY_BE_SLOW = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "database": None}

settings.register_profile("repeatable", derandomize=True, max_examples=60, **MACHINE_MAY_BE_SLOW)
settings.register_profile(FUZZ, derandomize=False, max_examples=5_000, print_blob=True, **MACHINE_MAY_BE_SLOW)
settings.load_profile("repeatable")

_outcomes: Counter[str] = Counter()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed that hypothesis would keep to itself."""
    if config.getoption("--hypothesis-profile") == FUZZ and config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = str(secrets.randbelow(2**32))


@pytest.fixture(scope="session")
def outcomes() -> Counter[str]:
    """Count what became of each input of a property; `make fuzz` prints it."""
    return _outcomes


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    _outcomes.clear()
    started = time.monotonic()
    try:
        return (yield)
    finally:
        # A report carries these from the workers of pytest-xdist too.
        item.user_properties.append(("outcomes", dict(_outcomes)))
        item.user_properties.append(("seconds", time.monotonic() - started))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("--hypothesis-profile") != FUZZ:
        return
    terminalreporter.section("what the properties tried")
    totals: dict[str, Counter[str]] = {}
    for report in sorted(terminalreporter.getreports("passed") + terminalreporter.getreports("failed"), key=_name):
        properties = dict(report.user_properties)
        if report.when == "call" and properties["outcomes"]:
            terminalreporter.write_line(_told(_name(report), properties["outcomes"], properties["seconds"]))
            totals.setdefault(_name(report).partition(":")[0], Counter()).update(properties["outcomes"])
    for module, outcomes in totals.items():
        terminalreporter.write_line(_told(f"{module}, in all", outcomes, None))
    terminalreporter.write_line(f"again: --hypothesis-profile={FUZZ} --hypothesis-seed={config.option.hypothesis_seed}")


def _name(report: pytest.TestReport) -> str:
    path, _, name = report.nodeid.partition("::")
    return f"{Path(path).stem}: {name}"


def _told(name: str, outcomes: dict[str, int], seconds: float | None) -> str:
    figures = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(outcomes.items()))
    took = "" if seconds is None else f" in {seconds:.0f} s"
    return f"{name}\n    {sum(outcomes.values()):,} inputs{took}: {figures}"
