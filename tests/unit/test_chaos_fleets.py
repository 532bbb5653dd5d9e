"""Half of a mixed fleet runs the release before, and each kind of fault finds victims in both."""

from __future__ import annotations

from tests.acceptance.harness import ROOT
from tests.chaos.faults import ACTS, ALL_KINDS, ALL_PARTS, KINDS
from tests.chaos.fleets import MIXED_FLEET, USUAL_FLEET
from tests.chaos.plan import LONG_ROUND, plan_faults
from tests.chaos.release_gaps import CAME_WITH


def test_half_of_each_kind_of_part_is_older() -> None:
    for parts in (MIXED_FLEET.webs, MIXED_FLEET.beats, MIXED_FLEET.workers):
        assert 2 * len(MIXED_FLEET.older & set(parts)) == len(parts)


def test_the_first_web_is_of_this_release() -> None:
    # The checker asks it for what only this release knows.
    assert MIXED_FLEET.webs[0] not in MIXED_FLEET.older


def test_the_usual_fleet_changes_no_kind_of_fault() -> None:
    assert [kind.in_fleet(USUAL_FLEET) for kind in ALL_KINDS] == list(ALL_KINDS)


def test_what_strikes_all_workers_strikes_those_of_both_releases() -> None:
    kinds = {kind.name: kind.in_fleet(MIXED_FLEET) for kind in KINDS}

    assert kinds["all workers: kill -9"].victim_count == len(MIXED_FLEET.workers)
    assert kinds["worker: kill -9"].group == MIXED_FLEET.workers
    assert kinds["worker: kill -9"].victim_count == 1
    assert kinds["web: kill -9"].group == MIXED_FLEET.webs
    assert kinds["web: kill -9"].victim_count == 1
    assert kinds["PostgreSQL: SIGSTOP"].group == ("postgres",)


def test_an_act_leaves_every_part_of_a_mixed_fleet_alone() -> None:
    acts = [kind for _, kinds in ACTS for kind in kinds if kind.group == ALL_PARTS]

    assert acts
    for act in acts:
        assert set(act.in_fleet(MIXED_FLEET).group) >= set(MIXED_FLEET.parts)


def test_a_long_round_breaks_every_part_of_a_mixed_fleet() -> None:
    planned = plan_faults(7, LONG_ROUND, fleet=MIXED_FLEET)

    assert {name for each in planned for name in each.victims} >= set(MIXED_FLEET.parts)


def test_this_release_has_what_each_client_needs() -> None:
    assert [path for path in CAME_WITH.values() if not (ROOT / path).exists()] == []
