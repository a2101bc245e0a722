"""The tables of databases on the page of compatibility: as the suite's list has them now."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.databases import tables

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", ["databases.csv", "gaps.csv"])
def test_a_table_of_databases_is_what_the_suite_says(name: str) -> None:
    assert (DOCS / name).read_text() == tables()[name], "run python -m docs.databases"
