"""What every system test has: a real Airflow to run, and figures to tell at the end."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from tests.system.airflow import Airflow

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",  # CI is root, whom Chromium refuses otherwise
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
]
"""How Chromium is started."""
PATIENCE = 240_000
"""Milliseconds to wait for what a page is going to show: it has 11 MB of scripts, and two cores are slow at times."""

FIGURES = pytest.StashKey[dict[str, object]]()
KEPT_HOME = pytest.StashKey[Path]()


@pytest.fixture(scope="session")
def airflow_home(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Make a home for Airflow; keep what it wrote there where a test failed."""
    home = Path(tempfile.mkdtemp(prefix="airflow-smspartner-system-"))
    yield home
    if sys.exception() or request.session.testsfailed:
        request.config.stash[KEPT_HOME] = home
    else:
        shutil.rmtree(home)


@pytest.fixture(scope="session")
def leave_out() -> Callable[[str], NoReturn]:
    """Skip what this machine lacks something for, and say what; in CI that is a failure."""

    def leave_out(reason: str) -> NoReturn:
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)

    return leave_out


@pytest.fixture(scope="session")
def chromium(leave_out: Callable[[str], NoReturn]) -> Iterator[Browser]:
    """Run Chromium without a window. Ask for it before Airflow: whoever has none need not wait for that to start."""
    executable = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if executable is None:
        leave_out("there is no Chromium on the path: apt-get install chromium")
    from playwright.sync_api import sync_playwright  # which the other system tests do not need

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def make_airflow(airflow_home: Path, leave_out: Callable[[str], NoReturn]) -> Iterator[Callable[..., Airflow]]:
    """Make an Airflow, which ends with the last test: ``make_airflow(environment, dags, connections, **settings)``."""
    with ExitStack() as running:

        def make_airflow(environment: str, dags: Path, connections: Mapping[str, str], **settings: Any) -> Airflow:
            folder = Path(__file__).parents[2] / environment
            if not (folder / "bin" / "airflow").exists():
                leave_out(
                    f"there is no Airflow to run in {environment}: CONTRIBUTING names the command that installs it"
                )
            airflow = Airflow(folder, airflow_home, dags, connections, **settings)
            running.callback(airflow.stop)
            return airflow

        yield make_airflow


@pytest.fixture(scope="session")
def run_airflow(make_airflow: Callable[..., Airflow]) -> Callable[..., Airflow]:
    """Run Airflow until the last test has ended: ``run_airflow(environment, dags, connections, **settings)``."""

    def run_airflow(*arguments: Any, **settings: str) -> Airflow:
        airflow = make_airflow(*arguments, **settings)
        airflow.start()
        return airflow

    return run_airflow


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> dict[str, object]:
    """Collect what a person wants to read at the end."""
    return request.config.stash.setdefault(FIGURES, {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if figures := config.stash.get(FIGURES, {}):
        terminalreporter.section("what a real Airflow did")
        for name, figure in figures.items():
            terminalreporter.write_line(f"{name:<68} {figure:>8}")
    if kept := config.stash.get(KEPT_HOME, None):
        terminalreporter.write_line(f"Airflow's logs and database are kept for a look: {kept}")
