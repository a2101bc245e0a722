"""The page of versions against what `make matrix` installs and runs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests import matrix

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "compatibility.rst").read_text()


def pinned(row: matrix.Row, name: str) -> str:
    found = re.search(rf"^{name}==([\w.]+)", row.constraints.read_text(), re.MULTILINE)
    assert found, name
    return found[1]


def what_runs(row: matrix.Row) -> str:
    return "all" if row.has_databases else "Airflow and libraries" if row.has_libraries else "Airflow"


def test_the_page_lists_the_rows_of_the_matrix_with_the_versions_that_they_pin_and_what_they_run() -> None:
    listed = re.findall(r"^(\d+\.\d+\.\d+) +(3\.\d+) +([\d.]+) +(\w.*)$", PAGE, re.MULTILINE)
    assert listed == [(row.airflow, row.python, pinned(row, "sqlalchemy"), what_runs(row)) for row in matrix.ROWS]


def test_each_line_of_sqlalchemy_is_tested_on_databases() -> None:
    by_make_test = matrix.Row("3.3.2")
    rows = [row for row in matrix.ROWS if row.has_databases] + [by_make_test]
    assert [pinned(row, "sqlalchemy")[:3] for row in rows] == ["1.4", "2.0", "2.1"]


def test_what_a_row_leaves_to_others_is_there() -> None:
    for pattern in matrix.LEFT_TO_MAKE_TEST + matrix.ON_LIBRARIES + matrix.ON_DATABASES:
        assert list((ROOT / "tests").glob(pattern)), pattern


@pytest.mark.parametrize("row", matrix.ROWS, ids=lambda row: row.name)
def test_each_row_pins_the_airflow_that_it_is_named_after_and_no_registry(row: matrix.Row) -> None:
    assert pinned(row, "apache-airflow") == row.airflow
    assert "://" not in row.constraints.read_text()


def test_the_lowest_row_pins_each_lower_bound_of_the_metadata() -> None:
    (row,) = (row for row in matrix.ROWS if row.is_lowest)
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert len(matrix.lowest_versions()) == len(declared)
    for pin in matrix.lowest_versions():
        name, _, version = pin.partition("==")
        assert pinned(row, name) == version
