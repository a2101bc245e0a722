"""The pages and the README as they are written: where they lead, and whose code they show."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_readme_stands_alone_on_a_package_index() -> None:
    text = (ROOT / "README.md").read_text()
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    assert [link for link in links if not link.startswith("https://")] == []
    named = re.findall(r"`([A-Z]+\.md|docs/|example_dags/)`", text)
    assert len(named) >= 5
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_no_page_shows_python_that_no_test_runs() -> None:
    pages = {page: page.read_text() for page in (ROOT / "docs").rglob("*.rst")}
    assert [page.name for page, text in pages.items() if re.search(r"code-block:: (python|sql)", text)] == []
    shown = {
        (page.parent / path).resolve()
        for page, text in pages.items()
        for path in re.findall(r"literalinclude:: (\S+)", text)
    }
    run = [ROOT / "example_dags", ROOT / "tests", ROOT / "docs" / "analysts", ROOT / "docs" / "monitoring"]
    assert [path.name for path in shown if not any(folder in path.parents for folder in run)] == []
