"""A person at Airflow's web pages: the wheel on a real Airflow with the example DAGs, a sandbox, and a browser."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Locator, Page, Request

from airflow_provider_smspartner.sandbox import SMSPartnerSandbox
from tests.spellings import KEY, told
from tests.system.airflow import Airflow
from tests.system.conftest import PATIENCE

REPOSITORY = Path(__file__).parents[3]
IMAGES = REPOSITORY / "docs" / "images"


@pytest.fixture(scope="session")
def account() -> Iterator[SMSPartnerSandbox]:
    """Serve an account that can pay for 2,631 SMS."""
    with SMSPartnerSandbox("100.00", KEY) as account:
        yield account


@pytest.fixture(scope="session")
def airflow(chromium: Browser, run_airflow: Callable[..., Airflow], airflow_home: Path) -> Airflow:
    """Run Airflow until the last test has ended; the connection to the account is made in the browser."""
    connections = {
        conn_id: json.dumps({"conn_type": "sqlite", "host": str(airflow_home / f"{conn_id}.db")})
        for conn_id in ("warehouse", "ledger")
    }
    return run_airflow(
        ".venv-airflow",
        REPOSITORY / "example_dags",
        connections,
        core__dags_are_paused_at_creation="True",  # the hourly ones would run before there is a connection
        core__test_connection="Enabled",
        logging__logging_level="INFO",
        smspartner__snapshots_conn_id="warehouse",
        smspartner__reservations_conn_id="ledger",
    )


@pytest.fixture(scope="session")
def received() -> dict[str, str]:
    """Collect what Airflow answered the browser, by method and URL and a number."""
    return {}


@pytest.fixture(scope="session")
def browser(chromium: Browser, airflow: Airflow, received: dict[str, str]) -> Iterator[BrowserContext]:
    """Open one context for all tests: the first page takes longest, and fills its cache."""

    def keep(request: Request) -> None:
        answer = request.response()
        if answer is not None and "json" in answer.headers.get("content-type", ""):
            with suppress(Error):  # the tab was closed before it had read it
                received[f"{request.method} {request.url} {len(received)}"] = answer.text()

    browser = chromium.new_context(
        base_url=f"http://127.0.0.1:{airflow.port}",
        viewport={"width": 1280, "height": 800},
        color_scheme="light",
        locale="en-GB",
        timezone_id="UTC",
    )
    browser.set_default_timeout(PATIENCE)
    browser.on("requestfinished", keep)
    yield browser
    browser.remove_listener("requestfinished", keep)
    browser.close()


@pytest.fixture
def page(browser: BrowserContext) -> Iterator[Page]:
    """Open a tab; hold each test to it that what the page ends as tells no key, and that no script of it failed."""
    page, errors = browser.new_page(), list[object]()

    def keep(error: object) -> None:  # a method of the list will not do: Playwright wants to set an attribute
        errors.append(error)

    page.on("pageerror", keep)
    yield page
    assert told(KEY, page.content()) == []
    assert errors == []
    page.close()


@pytest.fixture
def shoot(tmp_path: Path) -> Callable[..., None]:
    """Take a picture: ``shoot(page, name, clip=…)``. With SCREENSHOTS=1 it is the one in the docs from now on."""

    def shoot(what: Page | Locator, name: str, **how: Any) -> None:
        folder = IMAGES if os.environ.get("SCREENSHOTS") == "1" else tmp_path
        what.screenshot(path=folder / f"{name}.png", animations="disabled", caret="hide", **how)
        assert (folder / f"{name}.png").stat().st_size < 150 * 1024

    return shoot
