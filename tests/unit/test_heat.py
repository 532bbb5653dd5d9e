"""The levels of colour of a heat map, and its legend."""

from __future__ import annotations

import pytest

from console.calendar.heat import scale_of


@pytest.mark.parametrize(
    "counts", [[], [0, 0], [1], [3, 1], [50, 60, 70], [1] * 50 + [900]]
)
def test_each_number_has_the_level_that_the_legend_says(counts: list[int]) -> None:
    scale = scale_of(counts)

    for count in counts:
        steps = [step for step in scale.legend if step.first <= count <= step.last]
        assert [step.level for step in steps] == (
            [scale.level_of(count)] if count else []
        )


def test_the_highest_number_has_the_highest_level() -> None:
    assert scale_of([1, 2, 70]).level_of(70) == 5
    assert scale_of([0, 0]).level_of(0) == 0


def test_low_numbers_differ_where_most_are_low() -> None:
    skewed, even = scale_of([10] * 50 + [1000]), scale_of([600, 800, 1000])

    assert skewed.bounds == [40, 160, 360, 640, 1000]
    assert even.bounds == [200, 400, 600, 800, 1000]
