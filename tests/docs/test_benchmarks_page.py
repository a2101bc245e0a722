"""The page of benchmarks against the results of the last run: each figure on it was measured."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks import page

RESULTS = json.loads(page.RESULTS.read_text())


@pytest.mark.parametrize("path", [page.TABLE, page.MACHINE], ids=lambda path: path.name)
def test_the_page_shows_what_the_last_run_wrote(path: Path) -> None:
    assert path.read_text() == page.tables(RESULTS)[path]


def test_the_page_includes_both_tables() -> None:
    text = (page.ROOT / "docs" / "benchmarks.rst").read_text()
    assert set(re.findall(r":file: (\S+)", text)) == {page.TABLE.name, page.MACHINE.name}


def test_a_goal_that_is_missed_is_shown_as_missed() -> None:
    missed = {
        "figure": "f",
        "case": "c",
        "package": "2",
        "compared_with": "1",
        "ratio": "2",
        "goal": "1",
        "is_met": False,
    }
    results = {"machine": {}, "figures": {"row": {"at": "now", "load": "0", "lines": [missed]}}}
    assert "**no**" in page.tables(results)[page.TABLE]
