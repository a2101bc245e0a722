"""Write the tables of databases from the suite's own list: ``python -m docs.databases``."""

from __future__ import annotations

from pathlib import Path

from docs.csv_tables import csv_text
from tests.databases import BEHAVIOURS, COMPILED_ONLY, DATABASES, GAPS, NAMED, Database

PAGE = Path(__file__).parent

WRITTEN_BY = {
    "PostgreSQL": "ON CONFLICT",
    "SQLite": "ON CONFLICT",
    "DuckDB": "ON CONFLICT",
    "CockroachDB": "ON CONFLICT",
    "MariaDB": "ON DUPLICATE KEY",
    "MySQL 8": "ON DUPLICATE KEY",
    "ClickHouse": "INSERT; the last row of a key counts",
    "Redshift": "LOCK, DELETE, INSERT in one transaction",
}
"""By title; the others by MERGE."""


def tables() -> dict[str, str]:
    """Return the files, by their names."""
    return {"databases.csv": csv_text(_databases()), "gaps.csv": csv_text(_gaps())}


def _databases() -> list[tuple[str, str, str, str]]:
    rows = [("database", "driver", "written by", "tested")]
    drivers: dict[Database, list[str]] = {}
    for database in DATABASES:
        same = next((other for other in drivers if other.title == database.title), database)
        drivers.setdefault(same, []).append(database.driver)
    for database, names in drivers.items():
        ran = f"on a stand-in: {database.stand_in}" if database.stand_in else "on the real engine"
        rows.append((database.title, ", ".join(dict.fromkeys(names)), _written_by(database.title), ran))
    rows += [(each.title, each.driver, _written_by(each.title), "compiled only") for each in COMPILED_ONLY]
    return rows


def _gaps() -> list[tuple[str, str, str, str]]:
    rows = [("database", "behaviour", "kind", "reason")]
    rows += [
        (NAMED[name].title, BEHAVIOURS[behaviour], gap.kind.value, gap.reason)
        for (behaviour, name), gap in GAPS.items()
    ]
    return rows


def _written_by(title: str) -> str:
    return WRITTEN_BY.get(title, "MERGE")


if __name__ == "__main__":
    for name, text in tables().items():
        (PAGE / name).write_text(text)
