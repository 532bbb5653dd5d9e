"""The map in docs/explanation/architecture.md says of every module what the module says itself."""

from __future__ import annotations

from tests.architecture.folders import MAP_BEGIN, MAP_END, PAGE, draw_map


def test_the_map_is_up_to_date() -> None:
    text = PAGE.read_text(encoding="utf-8")

    drawn = text.partition(MAP_BEGIN)[2].partition(MAP_END)[0]

    # `python -m tests.architecture.folders --write-map` renews it.
    assert drawn == draw_map()
