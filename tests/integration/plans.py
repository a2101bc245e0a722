"""How many rows PostgreSQL reads for a statement, by its own account."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy.engine import Engine


def rows_read(engine: Engine, statement: str, parameters: Any = None) -> int:
    """Run a statement, and return how many rows of tables it has read, those that it threw away included."""
    with engine.connect() as connection:
        told = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters).scalar_one()
    (plan,) = json.loads(told) if isinstance(told, str) else told
    scans = [node for node in _nodes_of(plan["Plan"]) if "Relation Name" in node]
    return sum((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"] for node in scans)


def _nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for node in plan.get("Plans", ()):
        yield from _nodes_of(node)
