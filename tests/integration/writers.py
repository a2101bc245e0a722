"""Many processes that write into the snapshot table at the same time, and what it must hold then."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL

from airflow_provider_smspartner.sql.snapshots import Snapshot, write_snapshots

TURNS = 3


def write_side_by_side(
    url: URL, table: sa.Table, snapshot: Snapshot, writers_count: int, *, keep: bool = False
) -> None:
    """
    Start the writers at once; each writes the same three rows in each of its turns, and one of its own.

    :raises AssertionError: a writer has failed, or has not ended in time
    """
    fork = multiprocessing.get_context("fork")
    start, failures = fork.Barrier(writers_count), fork.SimpleQueue()
    writers = [
        fork.Process(target=_write, args=(url, table, snapshot, number, start, failures, keep))
        for number in range(writers_count)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(50)
    assert [writer.exitcode for writer in writers] == [0] * writers_count
    assert failures.empty(), failures.get()


def check_side_by_side(rows: Sequence[dict[str, Any]], writers_count: int, *, keep: bool = False) -> None:
    """Hold what is stored to it: nothing twice, nothing missing, the shared rows as one writer's last or first turn."""
    assert len({row["snapshot_id"] for row in rows}) == len(rows) == writers_count * TURNS + 3
    # Who wrote last is not known; that it was somebody's last turn, and one writer's for all three rows, is.
    last = {(row["credit_sms"], row["to_send"]) for row in rows if row["run_id"].startswith("shared")}
    assert len(last) == 1
    assert {sms for sms, _ in last} == {0 if keep else TURNS - 1}


def _write(url: URL, table: sa.Table, snapshot: Snapshot, number: int, start: Any, failures: Any, keep: bool) -> None:
    engine = sa.create_engine(url)
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
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent counts it
        failures.put(repr(error))
