"""Many writers into the snapshot table at the same time, and what it must hold then."""

from __future__ import annotations

import multiprocessing
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from airflow_provider_smspartner.sql.snapshots import Snapshot, write_snapshots

TURNS = 3


def write_side_by_side(
    open_engine: Callable[[], Engine],
    table: sa.Table,
    snapshot: Snapshot,
    writers_count: int,
    *,
    keep: bool = False,
    in_threads: bool = False,
) -> None:
    """
    Start the writers at once; each writes the same three rows in each of its turns, and one of its own.

    :param in_threads: for a database that lives in this process
    :raises AssertionError: a writer has failed, or has not ended in time
    """
    fork = multiprocessing.get_context("fork")
    start: Any = (threading if in_threads else fork).Barrier(writers_count)
    failures: Any = queue.SimpleQueue() if in_threads else fork.SimpleQueue()
    kind: Any = threading.Thread if in_threads else fork.Process
    writers = [
        kind(target=_write, args=(open_engine, table, snapshot, number, start, failures, keep), daemon=True)
        for number in range(writers_count)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(50)
    assert failures.empty(), failures.get()
    assert not [writer for writer in writers if writer.is_alive() or getattr(writer, "exitcode", 0)]


def check_side_by_side(rows: Sequence[dict[str, Any]], writers_count: int, *, keep: bool = False) -> None:
    """Hold what is stored to it: nothing twice, nothing missing, the shared rows as one writer's last or first turn."""
    assert len({row["snapshot_id"] for row in rows}) == len(rows) == writers_count * TURNS + 3
    # Who wrote last is not known; that it was somebody's last turn, and one writer's for all three rows, is.
    last = {(row["credit_sms"], row["to_send"]) for row in rows if row["run_id"].startswith("shared")}
    assert len(last) == 1
    assert {sms for sms, _ in last} == {0 if keep else TURNS - 1}


def _write(
    open_engine: Callable[[], Engine],
    table: sa.Table,
    snapshot: Snapshot,
    number: int,
    start: Any,
    failures: Any,
    keep: bool,
) -> None:
    engine = open_engine()
    # Each writer is a reading of its own, of a moment of its own.
    snapshot = replace(snapshot, captured_at=snapshot.captured_at + timedelta(seconds=number))
    start.wait()
    try:
        for turn in range(TURNS):
            shared = [replace(snapshot, run_id=f"shared_{n}", credit_sms=turn, to_send=number) for n in range(3)]
            own = replace(snapshot, run_id=f"own_{number}_{turn}")
            held = write_snapshots(engine, table, [*shared, own], keep=keep)
            assert [row.run_id for row in held] == ["shared_0", "shared_1", "shared_2", own.run_id]
            assert held[3] == own
            if not keep:
                assert held[:3] == shared
            engine.dispose()  # DuckDB lets in one process at a time
    except Exception as error:  # noqa: BLE001 - whatever it is, who started the writers counts it
        failures.put(repr(error))
