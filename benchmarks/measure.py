"""How one thing is measured against another: interleaved in random order, as medians with quartiles."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Spread:
    """The median of some samples, and the quartiles around it."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, samples: Iterable[float]) -> Self:
        """Return the spread of at least one sample."""
        numbers = list(samples)
        return cls(*(statistics.quantiles(numbers, n=4, method="inclusive") if len(numbers) > 1 else numbers * 3))

    def told(self, unit: str, scale: float = 1) -> str:
        """Return it as people read it: ``1.23 ms (1.20 to 1.31)``."""
        low, median, high = (_three_digits(number * scale) for number in (self.low, self.median, self.high))
        return f"{median} {unit} ({low} to {high})"


@dataclass(frozen=True)
class Line:
    """One line of the table: this package's figure, the other side's, and whether the goal is met."""

    figure: str
    case: str
    package: str
    compared_with: str
    """The peer, or the baseline, by its name and figure."""
    ratio: str
    goal: str
    """Empty where a line is there to compare with alone."""
    is_met: bool | None
    """None where there is no goal."""


def in_random_order(names: Iterable[str], rounds: int) -> Iterator[str]:
    """Yield each name once a round, in an order that chance decides anew each time."""
    each = list(names)
    for _ in range(rounds):
        yield from random.sample(each, len(each))


def interleave(sides: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Spread]:
    """Run each side once a round, in random order; return the seconds it took."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for name in in_random_order(sides, rounds):
        begin = time.perf_counter()
        sides[name]()
        seconds[name].append(time.perf_counter() - begin)
    return {name: Spread.of(samples) for name, samples in seconds.items()}


def ratio_line(
    figure: str, case: str, package: Spread, other_side: tuple[str, Spread], goal: float | None, *, unit: str = "ms"
) -> Line:
    """
    Return the line of two sides that were measured side by side.

    :param unit: in which the times are shown, ``"s"`` or ``"ms"``
    """
    name, other = other_side
    scale = {"s": 1.0, "ms": 1e3}[unit]
    ratio = package.median / other.median
    return Line(
        figure,
        case,
        package.told(unit, scale),
        f"{name}: {other.told(unit, scale)}",
        f"{ratio:.2f}",
        "" if goal is None else f"at most {goal}",
        None if goal is None else round(ratio, 2) <= goal,
    )


def _three_digits(number: float) -> str:
    return f"{number:,.{0 if abs(number) >= 100 else 1 if abs(number) >= 10 else 2}f}"
