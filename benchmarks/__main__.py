"""Measure some figures, or all of them; the whole run is kept in ``results.json`` and shown in the documentation."""

from __future__ import annotations

import argparse
import atexit
import json
import os
import signal
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import import_module
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks import machine, page
from benchmarks.page import FIGURES
from tests.at_exit import mute_duckdb

if TYPE_CHECKING:
    from benchmarks.measure import Line


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes: whether it all runs; nothing is kept")
    parser.add_argument("--show", action="store_true", help="write the documentation's tables anew, without measuring")
    parser.add_argument("names", nargs="*", help=f"figures to measure (default: all of {', '.join(FIGURES)})")
    options = parser.parse_args()
    if unknown := set(options.names) - set(FIGURES):
        parser.error(f"there is no figure {', '.join(sorted(unknown))}: use {', '.join(FIGURES)}")
    # Who is asked to end stops what it started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with TemporaryDirectory() as home:
        os.environ |= {"AIRFLOW_HOME": home, "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"}
        os.environ |= {"NO_PROXY": "127.0.0.1", "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        _run([] if options.show else options.names or FIGURES, is_quick=options.quick)


def _run(names: tuple[str, ...] | list[str], *, is_quick: bool) -> None:
    results: dict[str, Any] = (
        json.loads(page.RESULTS.read_text()) if page.RESULTS.exists() else {"machine": {}, "figures": {}}
    )
    for name in names:
        figure, load, begin = import_module(f"benchmarks.{name}"), machine.load(), time.monotonic()
        lines: list[Line] = figure.measure(figure.QUICK if is_quick else figure.FULL)
        for line in lines:
            _say(line)
        sys.stdout.write(f"    {name}: {time.monotonic() - begin:.0f} s, load before it {load}\n")
        at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        results["figures"][name] = {"at": at, "load": load, "lines": [asdict(line) for line in lines]}
        if not is_quick:
            page.write(_in_order(results | {"machine": machine.describe()}))
    if not names:
        page.write(results)


def _in_order(results: dict[str, Any]) -> dict[str, Any]:
    figures = results["figures"]
    return results | {"figures": {name: figures[name] for name in FIGURES if name in figures}}


def _say(line: Line) -> None:
    met = {True: "met", False: "MISSED", None: ""}[line.is_met]
    told = [line.figure, line.case, line.package, line.compared_with, line.ratio, line.goal, met]
    sys.stdout.write(" | ".join(told) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    atexit.register(mute_duckdb)
    main()
