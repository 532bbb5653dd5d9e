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


@pytest.mark.parametrize("limit", [0.0, 1.0, 50.0, 200.0, 599.0])
def test_a_limit_stands_where_a_bar_of_its_height_would_end(limit: float) -> None:
    chart = draw([bar(200)], limit=limit)
    [column] = chart.columns

    assert chart.limit is not None
    assert 0 <= chart.limit <= chart.base
    height = column.rectangles[0].height * limit / 200
    assert chart.base - chart.limit == pytest.approx(height, abs=0.2)


@pytest.mark.parametrize(("up", "limit"), [(200, 601.0), (0, 1.0), (200, None)])
def test_a_limit_far_above_the_bars_is_not_drawn(up: int, limit: float | None) -> None:
    chart = draw([bar(up)], limit=limit)

    assert chart.limit is None
    assert chart.columns == draw([bar(up)]).columns


def test_a_marked_bar_has_a_triangle_over_it() -> None:
    marked = bar(5)._replace(is_marked=True)

    plain, over = (column.mark for column in draw([bar(5), marked]).columns)

    assert plain == ""
    assert (
        over == f"{WIDTH * 5 / 8:.1f},0 {WIDTH * 7 / 8:.1f},0 {WIDTH * 3 / 4:.1f},6.0"
    )
