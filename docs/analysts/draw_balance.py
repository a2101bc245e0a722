"""Draw the picture of the analysts' page: an SQLite table that the package writes, read back and drawn as SVG."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from airflow_provider_smspartner.account import Account, Credits, User
from airflow_provider_smspartner.sql.snapshots import Snapshot, TaskInstanceRef, snapshot_table, write_snapshots

START, DAYS = datetime(2026, 7, 1, tzinfo=UTC), 28
HOUR = timedelta(hours=1)
CAMPAIGNS = {
    (2, 9): 310,
    (7, 9): 365,
    (9, 14): 240,
    (13, 9): 330,
    (15, 9): 290,
    (21, 9): 280,
    (23, 14): 345,
    (28, 9): 120,
}
"""What a campaign costs, in EUR, by the day of July and the hour at which it starts; it takes three hours."""
TOP_UPS = {(10, 8): 800, (20, 6): 900}
UNREAD = (datetime(2026, 7, 14, 22, tzinfo=UTC), datetime(2026, 7, 16, 8, tzinfo=UTC))
"""The gateway answers without credits: no reading, so no row."""
THRESHOLD = 350

WIDTH, HEIGHT = 860, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 830, 56, 340
HIGHEST, STEP = 1500, 250
STYLE = """
text { fill: #24292f; font: 12px Helvetica, Arial, sans-serif; text-anchor: middle }
line { stroke: #24292f }
.title { font-size: 15px }
.from { text-anchor: start }
.to { text-anchor: end }
.grid { stroke: #d8dee4 }
.gap { fill: #eaeef2 }
.balance { fill: none; stroke: #0550ae; stroke-width: 2; stroke-linejoin: round }
.top-up { fill: #116329 }
line.threshold { stroke: #b42318; stroke-width: 1.5; stroke-dasharray: 6 4 }
text.threshold { fill: #b42318 }
"""


class Reading(NamedTuple):
    """A balance and when it was captured."""

    at: datetime
    balance: Decimal


def picture() -> str:
    """Return the SVG of the example."""
    engine = sa.create_engine("sqlite://")
    table = snapshot_table("smspartner_credit_snapshots")
    write_snapshots(engine, table, example())
    readings = read(engine, table)
    engine.dispose()
    return draw(readings)


def example() -> Iterator[Snapshot]:
    """Yield a snapshot an hour of an account that sends all day, and a campaign now and then."""
    balance = Decimal("1410.000")
    for hour in range(DAYS * 24 + 1):
        at = START + hour * HOUR
        balance += TOP_UPS.get((at.day, at.hour), 0) - _consumed_before(at)
        if UNREAD[0] < at < UNREAD[1]:
            continue
        credits = Credits(int(balance / Decimal("0.038")), None, None, 0, balance, "EUR")
        origin = TaskInstanceRef("smspartner_credit_snapshots", "snapshot", f"scheduled__{at.isoformat()}")
        yield Snapshot.of(Account(User(None, None, None), credits, at), "smspartner_default", origin)


def _consumed_before(at: datetime) -> Decimal:
    campaigns = sum(
        Decimal(cost) / 3
        for (day, hour), cost in CAMPAIGNS.items()
        if timedelta() < at - datetime(2026, 7, day, hour, tzinfo=UTC) <= 3 * HOUR
    )
    working = at.weekday() < 5 and 7 <= at.hour <= 18
    trickle = Decimal("0.038") * (60 + (at.day * 7 + at.hour * 5) % 23) if working else 0
    return Decimal(campaigns + trickle).quantize(Decimal("0.001"))


def read(engine: sa.Engine, table: sa.Table) -> list[Reading]:
    """Return what is known of the balance, in the order of its capture."""
    known = sa.select(table.c.captured_at, table.c.balance).where(table.c.balance.is_not(None))
    with engine.connect() as connection:
        return [Reading(*row) for row in connection.execute(known.order_by(table.c.captured_at))]


def draw(readings: list[Reading]) -> str:
    """Return the readings as an SVG."""
    title = "Example: balance of smspartner_default in July 2026, one snapshot an hour"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">',
        f"<title>{title}</title>",
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(LEFT, 26, title, "title from"),
        *_gaps(readings),
        *_grid(),
        _line(LEFT, _y(THRESHOLD), RIGHT, _y(THRESHOLD), "threshold"),
        _text(LEFT + 6, _y(THRESHOLD) + 15, f"threshold: {THRESHOLD} EUR, one campaign", "threshold from"),
        f'<path class="balance" d="{_path(readings)}"/>',
        *_top_ups(readings),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _x(at: datetime) -> float:
    return LEFT + (at - START) / timedelta(days=DAYS) * (RIGHT - LEFT)


def _y(balance: Decimal | int) -> float:
    return BOTTOM - float(balance) / HIGHEST * (BOTTOM - TOP)


def _text(x: float, y: float, text: str, look: str = "") -> str:
    return f'<text class="{look}" x="{x:.1f}" y="{y:.1f}">{text}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, look: str = "") -> str:
    return f'<line class="{look}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _grid() -> Iterator[str]:
    for amount in range(0, HIGHEST + 1, STEP):
        yield _line(LEFT, _y(amount), RIGHT, _y(amount), "grid" if amount else "")
        yield _text(LEFT - 8, _y(amount) + 4, f"{amount:,}", "to")
    for day in range(0, DAYS + 1, 4):
        at = START + timedelta(days=day)
        yield _line(_x(at), BOTTOM, _x(at), BOTTOM + 5)
        yield _text(_x(at), BOTTOM + 20, f"{at.day} July")
    yield _text((LEFT + RIGHT) / 2, BOTTOM + 44, "captured_at (UTC)")
    middle = (TOP + BOTTOM) // 2
    yield f'<text x="18" y="{middle}" transform="rotate(-90 18 {middle})">balance (EUR)</text>'


def _gaps(readings: list[Reading]) -> Iterator[str]:
    for before, after in pairwise(readings):
        if after.at - before.at > HOUR:
            left, right = _x(before.at), _x(after.at)
            box = f'x="{left:.1f}" y="{TOP}" width="{right - left:.1f}" height="{BOTTOM - TOP}"'
            yield f'<rect class="gap" {box}/>'
            yield _text((left + right) / 2, TOP + 16, f"gap: {(after.at - before.at) // HOUR - 1} h")
            yield _text((left + right) / 2, TOP + 31, "without a row")


def _path(readings: list[Reading]) -> str:
    """Return the line: each balance holds until the next snapshot, and across a gap there is none."""
    commands = [f"M{_x(readings[0].at):.1f} {_y(readings[0].balance):.1f}"]
    for before, after in pairwise(readings):
        if after.at - before.at > HOUR:
            commands.append(f"H{_x(before.at):.1f}M{_x(after.at):.1f} {_y(after.balance):.1f}")
        elif after.balance != before.balance:
            commands.append(f"H{_x(after.at):.1f}V{_y(after.balance):.1f}")
    return "".join(commands) + f"H{_x(readings[-1].at):.1f}"


def _top_ups(readings: list[Reading]) -> Iterator[str]:
    for before, after in pairwise(readings):
        if after.balance > before.balance:
            x, y = _x(after.at), _y(after.balance)
            yield f'<path class="top-up" d="M{x:.1f} {y - 4:.1f}l6 11h-12z"/>'
            yield _text(x, y - 10, f"top-up, at least {after.balance - before.balance:,.2f} EUR", "top-up")


if __name__ == "__main__":
    Path(__file__).with_name("balance.svg").write_text(picture())
