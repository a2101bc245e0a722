"""What a task gets from Airflow, for those that are executed in this process."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import uuid4


def task_context() -> Any:
    """Return the part of a context that a snapshot looks at, of a run of its own."""
    ti = SimpleNamespace(dag_id="dag", task_id="snapshots", run_id=f"run {uuid4()}", map_index=-1)
    return {"ti": ti, "logical_date": datetime.now(UTC), "outlet_events": {}}
