"""Charts show whatever is not zero, and stay within their frame."""

from __future__ import annotations

import pytest

from console.charts import HEIGHT, MIN_HEIGHT, WIDTH, Bar, Part, draw


def bar(up: int, down: int = 0) -> Bar:
    parts = [Part("delivered", "", up, "/up")], [Part("failed", "", down, "/down")]
    return Bar("", "/", *parts)


@pytest.mark.parametrize(
    "bars",
    [
        [bar(0), bar(0)],
        [bar(10), bar(1)],
        [bar(100_000), bar(1)],
        [bar(0, 5)],
        [bar(100_000, 1), bar(1, 100_000)],
        [bar(1, 100_000)] * 24,
    ],
)
def test_bars_stay_in_the_frame_and_small_ones_can_be_seen(bars: list[Bar]) -> None:
    chart = draw(bars)

    assert len(chart.columns) == len(bars)
    for column in chart.columns:
        counted = [part for part in (*column.bar.up, *column.bar.down) if part.count]
        assert [each.part for each in column.rectangles] == counted
        for each in column.rectangles:
            assert each.height >= MIN_HEIGHT
            assert each.x >= 0
            assert each.x + each.width <= WIDTH + 1
            assert each.y >= -MIN_HEIGHT
            assert each.y + each.height <= HEIGHT + MIN_HEIGHT


def test_heights_are_in_proportion() -> None:
    high, low = (column.rectangles[0] for column in draw([bar(200), bar(50)]).columns)

    assert high.height == pytest.approx(4 * low.height, abs=0.2)
