"""Bar charts as SVG, drawn on the server: what is well goes up, and what is not goes down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

WIDTH, HEIGHT = 960.0, 160.0
# The share of its column that a bar leaves empty.
GAP = 0.14
# Whatever is not zero can be seen.
MIN_HEIGHT = 3.0
# The triangle over a marked bar: its height, and half its width as a share of the column.
MARK_HEIGHT, MARK_RATIO = 2 * MIN_HEIGHT, 0.25
# A limit that is higher than so many times the highest bar is left out of the chart.
MAX_LIMIT_RATIO = 3


@dataclass(frozen=True)
class Part:
    """A part of a bar: what it counts, and the list of what it counts."""

    css_class: str
    title: str
    count: int
    url: str


class Bar(NamedTuple):
    """A column of the chart. Parts are stacked from the base line on, up and down."""

    title: str
    url: str
    up: Sequence[Part]
    down: Sequence[Part] = ()
    # A triangle over the bar, so that its colour is not all that tells.
    is_marked: bool = False


class Rectangle(NamedTuple):
    x: float
    y: float
    width: float
    height: float
    part: Part


class Column(NamedTuple):
    """The whole height of the chart over a bar, and the rectangles of the bar."""

    x: float
    width: float
    bar: Bar
    rectangles: list[Rectangle]

    @property
    def mark(self) -> str:
        """The corners of the triangle over a marked bar, which points down to it."""
        if not self.bar.is_marked:
            return ""
        middle, half = self.x + self.width / 2, self.width * MARK_RATIO
        return f"{middle - half:.1f},0 {middle + half:.1f},0 {middle:.1f},{MARK_HEIGHT}"


class Chart(NamedTuple):
    width: float
    height: float
    base: float
    columns: list[Column]
    # The number at the top of the chart.
    highest: int
    # The place of the limit of what goes up, if it is in the chart.
    limit: float | None = None


def draw(bars: Sequence[Bar], *, limit: float | None = None) -> Chart:
    """Draw bars, and a line for the limit of what goes up if it is not far above them."""
    highest = max((_sum(bar.up) for bar in bars), default=0)
    if limit is not None and limit > highest * MAX_LIMIT_RATIO:
        limit = None
    top = max(highest, limit or 0)
    lowest = max((_sum(bar.down) for bar in bars), default=0)
    base = _base(highest, lowest)
    # Small parts are drawn larger than they are, so there is some room for them.
    room = min(base - 2 * MIN_HEIGHT, HEIGHT)
    below = HEIGHT - base - 2 * MIN_HEIGHT if lowest else 0.0
    scale = min(
        room / top if top else float("inf"),
        below / lowest if lowest else float("inf"),
    )
    width = WIDTH / max(len(bars), 1)
    columns = [
        _draw_column(bar, place * width, width, base, scale)
        for place, bar in enumerate(bars)
    ]
    line = None if limit is None else round(base - limit * scale, 1)
    return Chart(WIDTH, HEIGHT, round(base, 1), columns, highest, line)


def _base(highest: int, lowest: int) -> float:
    """The base line, with a fifth to a half of the height below it if that is needed."""
    if not lowest:
        return HEIGHT - 1
    share = lowest / (highest + lowest)
    return HEIGHT * (1 - min(max(share, 0.2), 0.5))


def _draw_column(bar: Bar, x: float, width: float, base: float, scale: float) -> Column:
    inner = (x + width * GAP / 2, width * (1 - GAP))
    rectangles = [
        *_stack(bar.up, *inner, base=base, direction=-1, scale=scale),
        *_stack(bar.down, *inner, base=base + 1, direction=1, scale=scale),
    ]
    return Column(round(x, 1), round(width, 1), bar, rectangles)


def _stack(
    parts: Sequence[Part],
    x: float,
    width: float,
    *,
    base: float,
    direction: int,
    scale: float,
) -> Iterator[Rectangle]:
    edge = base
    for part in parts:
        if not part.count:
            continue
        height = max(part.count * scale, MIN_HEIGHT)
        top = edge - height if direction < 0 else edge
        yield Rectangle(
            round(x, 1), round(top, 1), round(width, 1), round(height, 1), part
        )
        edge += direction * height


def _sum(parts: Sequence[Part]) -> int:
    return sum(part.count for part in parts)
