"""The pages and the README as they are written: where they lead, and whose code they show."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_link_of_the_readme_leads_to_a_file() -> None:
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", (ROOT / "README.md").read_text())
    assert len(links) > 5
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_no_page_shows_python_that_no_test_runs() -> None:
    pages = {page: page.read_text() for page in (ROOT / "docs").rglob("*.rst")}
    assert [page.name for page, text in pages.items() if re.search(r"code-block:: (python|sql)", text)] == []
    shown = {
        (page.parent / path).resolve()
        for page, text in pages.items()
        for path in re.findall(r"literalinclude:: (\S+)", text)
    }
    run = [ROOT / "example_dags", ROOT / "tests", ROOT / "docs" / "analysts"]
    assert [path.name for path in shown if not any(folder in path.parents for folder in run)] == []
