"""The pages as they were built: no link within them leads nowhere."""

from __future__ import annotations

from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

BUILT = Path(__file__).parents[2] / "build" / "docs"


class Page(HTMLParser):
    """Collects where a page leads, and the anchors it has."""

    def __init__(self) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in {"href", "src"} and value:
                self.links.add(value)
            elif name == "id" and value:
                self.anchors.add(value)


@cache
def read(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text())
    return page


def leads_nowhere(page: Path, link: str) -> bool:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return False
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not target.is_file():
        return True
    return bool(parts.fragment) and target.suffix == ".html" and unquote(parts.fragment) not in read(target).anchors


def test_no_link_leads_nowhere() -> None:
    pages = sorted(BUILT.rglob("*.html"))
    assert pages, f"build the pages first, by make docs: there are none in {BUILT.name}"
    links = [(page, link) for page in pages for link in read(page).links if link != "#"]
    assert len(links) > 500
    assert [(page.name, link) for page, link in links if leads_nowhere(page, link)] == []


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = {link for link in read(BUILT / "index.html").links if link.endswith(".html")}
    written = {str(page.relative_to(BUILT)) for page in BUILT.rglob("*.html")}
    assert written - listed == {"index.html", "genindex.html", "py-modindex.html", "search.html"} & written - listed
