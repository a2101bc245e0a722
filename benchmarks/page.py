"""The results on the documentation's page: ``docs/benchmarks.rst`` shows the two tables that are written here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docs.csv_tables import csv_text

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results.json"
TABLE = ROOT / "docs" / "benchmarks.csv"
MACHINE = ROOT / "docs" / "benchmarks-machine.csv"

FIGURES = (
    "imports",
    "reading",
    "row",
    "grant",
    "snapshot",
    "worker",
    "many_accounts",
    "gates",
    "queue",
    "many_triggers",
    "floor",
    "opening",
    "crowd",
    "history",
)
"""The modules that measure something, in the order of the table."""

MET = {True: "yes", False: "**no**", None: ""}


def tables(results: dict[str, Any]) -> dict[Path, str]:
    """Return the text of each table's file; what was not measured yet is shown as that."""
    rows: list[tuple[str, ...]] = [("figure", "case", "this package", "compared with", "ratio", "goal", "met")]
    measured = list(results["machine"].items())
    for name in FIGURES:
        if figure := results["figures"].get(name):
            rows += [_row(line) for line in figure["lines"]]
            measured.append((f"``{name}``", f"{figure['at']}, load {figure['load']}"))
        else:
            rows.append((f"``{name}``", "not measured yet", "", "", "", "", ""))
            measured.append((f"``{name}``", "not measured yet"))
    return {TABLE: csv_text(rows), MACHINE: csv_text(measured)}


def write(results: dict[str, Any]) -> None:
    """Keep the results, and show them."""
    RESULTS.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    for path, text in tables(results).items():
        path.write_text(text)


def _row(line: dict[str, Any]) -> tuple[str, ...]:
    told = [line[name] for name in ("figure", "case", "package", "compared_with", "ratio", "goal")]
    return (*told, MET[line["is_met"]])
