"""The names of the benchmarks, and the page that shows their last result."""

from __future__ import annotations

import json

import pytest

from tests.benchmarks import report
from tests.benchmarks.__main__ import RESULTS_FILE, RESULTS_PAGE
from tests.benchmarks.goals import GOALS
from tests.benchmarks.scenarios import ALL_SCENARIOS, parse_scenario


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("burst", "burst-10k"),
        ("burst-100000", "burst-100k"),
        ("steady-200", "steady-200-1k"),
        ("steady-1k-1m", "steady-1000-1m"),
        ("create", "create-0"),
        ("sink", "sink"),
    ],
)
def test_a_scenario_has_one_name_with_all_its_sizes(name: str, full: str) -> None:
    assert parse_scenario(name).name == full


@pytest.mark.parametrize("name", ["bursts", "burst-many", "burst-1k-2k"])
def test_a_scenario_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no"):
        parse_scenario(name)


def test_every_scenario_says_what_it_measures() -> None:
    assert {parse_scenario(name).name for name in ALL_SCENARIOS} == set(ALL_SCENARIOS)
    assert "10,000 one-time tasks" in parse_scenario("burst").about


def test_every_goal_is_of_a_scenario_that_is_measured() -> None:
    assert set(GOALS) <= set(ALL_SCENARIOS)


def test_the_page_shows_the_committed_result() -> None:
    results = json.loads(RESULTS_FILE.read_text(encoding="utf-8"))

    assert RESULTS_PAGE.read_text(encoding="utf-8") == report.render_page(results)
