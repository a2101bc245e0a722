"""Write the fault matrix into its page: ``python -m tests.faults.render``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tests.faults.faults import FAULTS, GROUPS, STATES, Fault, Mode, Verdict

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "faults.rst"
BEGIN = ".. What follows is written by python -m tests.faults.render\n"


def render(page: str) -> str:
    """Return the page with the matrix as the data has it."""
    written_by_hand, begin, _ = page.partition(BEGIN)
    return "".join([written_by_hand, begin or BEGIN, *(f"{line}\n" for line in _matrix())])


def _matrix() -> Iterator[str]:
    counts = {verdict: sum(fault.verdict is verdict for fault in FAULTS) for verdict in Verdict}
    told = ", ".join(f"{count} {_meaning(verdict)}" for verdict, count in counts.items())
    yield ""
    yield f"{len(FAULTS)} faults, each in {len(Mode)} modes: {len(FAULTS) * len(Mode)} cells. Of the faults, {told}."
    yield ""
    yield from _heading("What each mode does")
    yield "The states of the task, or what comes of the call, first while the fault is on, then once it is over."
    yield ""
    yield from _table(
        ["mode", *(f"*{verdict}*" for verdict in Verdict)],
        "16 21 21 21 21",
        ([mode.value, *(", then ".join(STATES[verdict][mode]) for verdict in Verdict)] for mode in Mode),
    )
    for title, faults in GROUPS.items():
        yield from _heading(title)
        yield from _table(
            ["fault", "verdict", "requests of one call", "what a person is told"],
            "25 12 13 50",
            map(_row, faults),
        )


def _meaning(verdict: Verdict) -> str:
    return {
        Verdict.TRANSIENT: "are transient errors",
        Verdict.PERMANENT: "are permanent ones",
        Verdict.READ: "are read all the same",
    }.get(verdict, "are read and hold too little or unknown credit")


def _row(fault: Fault) -> Sequence[str]:
    return fault.what, fault.verdict.value, "1 + ``max_retries``" if fault.retried else "1", fault.sentence


def _heading(title: str) -> Iterator[str]:
    yield from (title, "-" * len(title), "")


def _table(header: Sequence[str], widths: str, rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield from (".. list-table::", "    :header-rows: 1", f"    :widths: {widths}", "")
    for row in (header, *rows):
        for column, cell in enumerate(row):
            yield f"    {'* -' if column == 0 else '  -'} {cell}"
    yield ""


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text() if PAGE.exists() else ""))
