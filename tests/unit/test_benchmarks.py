"""What `make bench` makes of what it measured."""

from __future__ import annotations

import math

import pytest

from tests.benchmarks import goals, report
from tests.benchmarks.cpu_profiles import cpu_by_statement, samples_by_function
from tests.benchmarks.figures import (
    Deliveries,
    Figures,
    ResourceUsage,
    SinkDelivery,
    medians,
    percentile,
)
from tests.benchmarks.report import Results


def results(cores: str = "2", **figures: Figures) -> Results:
    return {
        "machine": {"cores": cores, "memory": "4 GiB"},
        "scenarios": {
            name.replace("_", "-"): {
                "about": "Tasks due at once.",
                "rounds": 3,
                "measured_on": "2026-11-22",
                "figures": each,
            }
            for name, each in figures.items()
        },
    }


@pytest.mark.parametrize(
    ("part", "expected"), [(0.0, 1), (0.5, 51), (0.99, 100), (1.0, 100)]
)
def test_a_percentile_is_a_value_that_was_measured(
    part: float, expected: float
) -> None:
    assert percentile(range(1, 101), part) == expected


def test_nothing_has_no_percentile() -> None:
    assert math.isnan(percentile([], 0.5))


def test_arrivals_tell_what_was_lost_doubled_and_early() -> None:
    arrived = Deliveries(
        [
            SinkDelivery(11.0, "one", 10.0, "/hook"),
            SinkDelivery(12.0, "one", 10.0, "/hook"),
            SinkDelivery(9.9, "two", 10.0, "/slow"),
        ]
    )

    assert arrived.count_faults(4) == {"lost": 2, "doubled": 1, "early": 1}
    assert arrived.for_path("/hook").lateness()["late max ms"] == 2000
    assert not arrived.scheduled_between(10.5, 11).rows


def test_the_target_costs_the_service_nothing() -> None:
    used = ResourceUsage(2.0, {"worker": 0.5, "target": 1.0}, other_cpu=0.1)

    cost = used.cost_per(1000, "delivery")

    assert cost["CPU µs per delivery"] == 500
    assert cost["target % busy"] == 50


def test_rounds_become_medians_and_faults_add_up() -> None:
    rounds = [{"late": 1.0, "lost": 1}, {"late": 9.0, "lost": 2}, {"late": 2.0}]

    assert medians(rounds) == {"late": 2.0, "lost": 3}


def test_a_goal_is_reached_or_not() -> None:
    text = report.render_summary(
        results(burst_10k={"delivered in s": 1.3, "CPU µs per delivery": 250.0}),
        report.empty_results(),
    )

    lines = {line.split("  ")[1].strip(): line for line in text.splitlines()[1:3]}
    assert lines["delivered in s"].endswith("yes")
    assert lines["CPU µs per delivery"].endswith("NO")


def test_a_figure_is_compared_with_the_last_of_a_machine_of_the_same_size() -> None:
    now, last = results(burst_10k={"late": 3.0}), results(burst_10k={"late": 2.0})
    other = results(cores="8", burst_10k={"late": 2.0})

    assert "1.50" in report.render_summary(now, last)
    assert "Not compared" in report.render_summary(now, other)


def test_results_of_another_machine_are_not_kept_beside_new_ones() -> None:
    new = results(burst_10k={})

    assert set(report.merge_results(results(idle_1m={}), new)["scenarios"]) == {
        "burst-10k",
        "idle-1m",
    }
    assert report.merge_results(results(cores="8", idle_1m={}), new) == new


def test_a_million_stored_tasks_are_compared_with_a_thousand() -> None:
    found = goals.add_ratios(
        {
            "steady-1000-1k": {"late p99 ms": 10.0, "CPU µs per delivery": 100.0},
            "steady-1000-1m": {"late p99 ms": 12.0, "CPU µs per delivery": 100.0},
        }
    )

    assert found["steady-1000-1m"]["1m : 1k, late p99"] == 1.2


def test_a_broken_promise_is_named() -> None:
    assert report.list_faults(results(burst_10k={"lost": 2, "early": 0})) == [
        "burst-10k: lost 2"
    ]


def test_the_page_shows_each_goal_and_what_was_measured() -> None:
    page = report.render_page(results(burst_10k={"delivered in s": 1.25, "lost": 0}))

    assert "| `burst-10k` | delivered in s | ≤ 1.4 | 1.25 | yes |" in page
    assert "Tasks due at once. Rounds: 3, on 2026-11-22." in page


def test_contestants_stand_beside_each_other() -> None:
    figures = {
        "ours: CPU µs per delivery": 300.0,
        "lost": 0.0,
        "BullMQ: CPU µs per delivery": 400.0,
        "ours : BullMQ, CPU": 0.75,
    }

    page = report.render_page(results(peers_10k=figures))

    assert (
        "| figure | ours | BullMQ |\n|---|---|---|\n"
        "| CPU µs per delivery | 300 | 400 |\n| ours : theirs, CPU |  | 0.75 |\n"
    ) in page
    assert "| lost | 0 | = 0 |" in page


def test_the_log_of_the_database_says_what_a_statement_cost() -> None:
    usage = "\t!\t{} s user, {} s system, 9.9 s elapsed\n\t!\t[8.1 s user total]\n"
    log = "".join(
        (
            "2026-11-21 14:00:00 UTC [7] LOG:  BIND MESSAGE STATISTICS\n",
            "2026-11-21 14:00:00 UTC [7] DETAIL:  ! system usage stats:\n",
            usage.format("0.25", "0.5"),
            "2026-11-21 14:00:00 UTC [7] STATEMENT:  \n\t    WITH due AS MATERIALIZED (\n",
            "\t        SELECT 1\n",
            "2026-11-21 14:00:00 UTC [8] LOG:  QUERY STATISTICS\n",
            "2026-11-21 14:00:00 UTC [8] DETAIL:  ! system usage stats:\n",
            usage.format("1.0", "0.0"),
            "2026-11-21 14:00:00 UTC [8] STATEMENT:  SELECT 2\n",
        )
    )

    assert cpu_by_statement(log) == {"take": 0.75, "other statements": 1.0}


def test_a_sample_belongs_to_the_innermost_step() -> None:
    folded = (
        "Taker._take (tasks_api/worker/taker.py);"
        "build_request (tasks_api/delivery/request.py);dumps (json/__init__.py) 3\n"
        "Taker._take (tasks_api/worker/taker.py);len (x.py) 2\n"
        "main (celery/__main__.py) 1\n"
    )

    assert samples_by_function(folded) == {
        "build and sign": 3,
        "hold what was taken": 2,
        "Celery and the rest of Python": 1,
    }
