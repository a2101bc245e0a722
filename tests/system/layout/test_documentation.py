"""The documentation as ``make docs`` built it, in a browser: at no width does a page scroll sideways or get cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from playwright.sync_api import Browser, Page

from airflow_provider_smspartner import __version__

BUILT = Path(__file__).parents[3] / "build" / "docs"
WIDTHS = (320, 768, 1366, 1440, 1920)

# What reaches out of the box around the text, unless a frame around it scrolls.
CUT = """() => {
    const box = document.querySelector(".content").getBoundingClientRect();
    const scrolls = element => {
        for (let up = element; up && up.tagName !== "ARTICLE"; up = up.parentElement)
            if (["auto", "scroll"].includes(getComputedStyle(up).overflowX)) return true;
        return false;
    };
    return [...document.querySelectorAll("article *")]
        .filter(element => element.getBoundingClientRect().right > box.right + 1 && !scrolls(element))
        .map(element => element.outerHTML.slice(0, 80));
}"""


@pytest.fixture(scope="module")
def documentation(chromium: Browser, leave_out: Callable[[str], NoReturn]) -> Page:
    if not (BUILT / "index.html").exists():
        leave_out("there is no documentation in build/docs: make docs builds it")
    return chromium.new_page()


def pages() -> list[Path]:
    return [path for path in sorted(BUILT.rglob("*.html")) if path.name not in {"genindex.html", "search.html"}]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_scrolls_sideways_and_nothing_is_cut(documentation: Page, width: int, theme: Any) -> None:
    documentation.set_viewport_size({"width": width, "height": 900})
    documentation.emulate_media(color_scheme=theme)
    found = {}
    for path in pages():
        documentation.goto(path.as_uri())
        sideways = documentation.evaluate("document.documentElement.scrollWidth") - width
        right = documentation.evaluate("document.querySelector('article').getBoundingClientRect().right")
        cut = documentation.evaluate(CUT)
        if sideways > 0 or right > width or cut:
            found[path.name] = (sideways, right, cut[:2])
    assert found == {}


def test_the_version_is_shown(documentation: Page) -> None:
    documentation.goto((BUILT / "index.html").as_uri())
    assert __version__ in documentation.locator("body").inner_text()
