"""The chart of an account's credit, as an SVG that asks nothing of any other server."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from decimal import Decimal

    from airflow_provider_smspartner.forecast import Forecast, History
    from airflow_provider_smspartner.reservation import Reservation


class _Colours(NamedTuple):
    paper: str
    ink: str
    lines: str
    series: tuple[str, ...]


_THEMES = {
    "light": _Colours("#ffffff", "#3f3f46", "#e4e4e7", ("#017cee", "#017cee", "#00875a", "#b45309")),
    "dark": _Colours("#111111", "#d4d4d8", "#3f3f46", ("#7ab8ff", "#7ab8ff", "#4ade80", "#fbbf24")),
}
THEMES = tuple(_THEMES)


def can_draw() -> bool:
    """Return whether the library that draws is installed."""
    from importlib.util import find_spec

    return find_spec("pygal") is not None


def draw(history: History, forecast: Forecast, campaigns: Sequence[Reservation], theme: str) -> bytes:
    """
    Return the SVG: the credit, gaps as gaps, top-ups and campaigns as dots, the forecast dashed.

    :param campaigns: each is marked where it was granted credit
    :param theme: one of ``THEMES``
    """
    import pygal
    from pygal.style import Style

    colours = _THEMES[theme]
    chart = pygal.DateTimeLine(
        width=960,
        height=380,
        style=Style(
            background=colours.paper,
            plot_background=colours.paper,
            foreground=colours.ink,
            foreground_strong=colours.ink,
            foreground_subtle=colours.ink,
            guide_stroke_color=colours.lines,
            colors=colours.series,
            font_family="system-ui, sans-serif",
        ),
        explicit_size=True,
        allow_interruptions=True,
        dots_size=2,
        legend_at_bottom=True,
        show_x_guides=False,
        x_label_rotation=0,
        x_labels_major_count=6,
        show_minor_x_labels=False,
        x_value_formatter=lambda moment: f"{moment:%d %b %H:%M}",
        value_formatter=lambda credit: f"{credit:,.0f}",
    )
    chart.add("credit", _with_gaps(history), show_dots=len(history.readings) < 60)
    chart.add("forecast", _ahead(history, forecast), show_dots=False, stroke_style={"dasharray": "4, 6", "width": 2})
    _mark(chart, "top-ups", [(step.after.at, step.after.credit) for step in history.top_ups])
    _mark(chart, "campaigns", _granted(campaigns, history))
    return _without_scripts(chart)


def _without_scripts(chart: Any) -> bytes:
    """Return the picture alone: the library puts a script beside it, which no page of ours would run."""
    from pygal.etree import etree

    picture = chart.render_tree()
    for element in list(picture.iter()):
        for child in [child for child in element if str(child.tag).endswith("script")]:
            element.remove(child)
    return bytes(etree.tostring(picture))


def _with_gaps(history: History) -> list[tuple[datetime, float | None]]:
    points: list[tuple[datetime, float | None]] = [(reading.at, float(reading.credit)) for reading in history.readings]
    points += [(start + (end - start) / 2, None) for start, end in history.gaps]
    return sorted(points, key=lambda point: point[0])


def _ahead(history: History, forecast: Forecast) -> list[tuple[datetime, float]]:
    """Return the line from the last reading down; not further than a third of what is behind it."""
    if forecast.runs_out_at is None or not history.readings or not forecast.per_day:
        return []
    last = history.readings[-1]
    until = min(forecast.runs_out_at, last.at + (history.end - history.start) / 3)
    share = (until - last.at) / (forecast.runs_out_at - last.at)
    return [(last.at, float(last.credit)), (until, float(last.credit) * (1 - share))]


def _granted(campaigns: Sequence[Reservation], history: History) -> list[tuple[datetime, int | Decimal]]:
    """Return where campaigns were granted credit, at the last reading before."""
    points = []
    for at in [campaign.granted_at for campaign in campaigns if campaign.granted_at is not None]:
        before = [reading.credit for reading in history.readings if reading.at <= at]
        if before and at <= history.end:
            points.append((at, before[-1]))
    return points


def _mark(chart: Any, name: str, points: Sequence[tuple[datetime, int | Decimal]]) -> None:
    if points:
        chart.add(name, [(at, float(credit)) for at, credit in points], stroke=False, dots_size=5)
