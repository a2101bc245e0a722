"""The credit page as a person meets it in Airflow: in its frame, in both themes, on a phone, by keyboard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, FrameLocator, Page, Request, expect
from sqlalchemy import create_engine

from demo.history import HABITS, write_history
from tests.system.airflow import Airflow

Shoot = Callable[..., None]

FRAMED = "/plugin/smspartner_credit"
ALONE = "/smspartner/"
expect.set_options(timeout=20_000)


@pytest.fixture(scope="module", autouse=True)
def _a_month(airflow: Airflow, airflow_home: Path) -> None:
    engine = create_engine(f"sqlite:///{airflow_home / 'warehouse.db'}")
    write_history(engine)
    engine.dispose()


@pytest.fixture
def asked(browser: BrowserContext, airflow: Airflow) -> Iterator[list[str]]:
    """Collect the requests that go to any other server than Airflow's."""
    strangers: list[str] = []

    def keep(request: Request) -> None:
        if not request.url.startswith((f"http://127.0.0.1:{airflow.port}/", "data:", "blob:", "about:")):
            strangers.append(request.url)

    browser.on("request", keep)
    yield strangers
    browser.remove_listener("request", keep)


def frame(page: Page) -> FrameLocator:
    page.goto(FRAMED, wait_until="commit")
    return page.frame_locator("iframe")


def test_airflows_menu_leads_to_the_page_of_all_accounts(page: Page, shoot: Shoot, asked: list[str]) -> None:
    page.goto("/", wait_until="commit")
    page.get_by_role("button", name="Browse").click()
    page.get_by_role("menuitem", name="SMS credit").click()
    shown = page.frame_locator("iframe")
    expect(shown.get_by_role("rowheader")).to_have_count(len(HABITS))
    expect(shown.get_by_role("row").nth(1)).to_contain_text(" EUR")
    shoot(page, "credit-page")
    assert asked == []


def test_an_account_shows_its_chart_and_its_figures(page: Page, shoot: Shoot, asked: list[str]) -> None:
    shown = frame(page)
    shown.get_by_role("link", name="smspartner_paris").click()
    picture = shown.get_by_role("img")
    expect(picture).to_have_js_property("naturalWidth", 960)
    expect(shown.get_by_role("heading", name="Top-ups")).to_be_visible()
    shown.get_by_label("Days").fill("7")
    shown.get_by_role("button", name="Show").click()
    expect(shown.get_by_label("Days")).to_have_value("7")
    shown.get_by_label("Days").fill("30")
    shown.get_by_role("button", name="Show").click()
    expect(picture).to_have_js_property("complete", True)
    shoot(page, "credit-of-an-account")
    assert asked == []


@pytest.mark.parametrize("width", [320, 1366])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_scrolls_sideways_in_either_theme(page: Page, theme: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]  # a literal of its own
    for path in ("", "account?conn_id=smspartner_paris", "reservations", "account?conn_id=nobody"):
        page.goto(f"{ALONE}{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == ("rgb(255, 255, 255)" if theme == "light" else "rgb(17, 17, 17)")


def test_the_dark_theme_of_airflow_is_that_of_the_page(page: Page, shoot: Shoot) -> None:
    page.emulate_media(color_scheme="null")  # which else is that of every frame, whatever the page around it says
    page.goto("/", wait_until="domcontentloaded")
    page.evaluate("localStorage.setItem('theme', 'dark')")
    shown = frame(page)
    expect(shown.get_by_role("rowheader")).to_have_count(len(HABITS))
    expect(shown.locator("body")).to_have_css("background-color", "rgb(17, 17, 17)")
    shoot(page, "credit-page-dark")
    page.evaluate("localStorage.removeItem('theme')")


def test_a_keyboard_reaches_every_account(page: Page) -> None:
    page.goto(ALONE)
    reached = set()
    for _ in range(3 + 2 * len(HABITS)):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.textContent"))
    assert set(HABITS) <= reached
