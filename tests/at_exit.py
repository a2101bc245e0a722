"""What the tests and the benchmarks do when their process ends."""

from __future__ import annotations

import os
import sys


def mute_duckdb() -> None:
    """Spare the reader DuckDB's page of "leaked" objects: what an interpreter that ends has not freed by then."""
    if "duckdb" in sys.modules:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
