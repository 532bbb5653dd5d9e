"""A short round of chaos in which half of the fleet runs the release before."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.cluster import Cluster
from tests.chaos.fleets import MIXED_FLEET
from tests.chaos.invariants import find_violations
from tests.chaos.orchestrator import run_round
from tests.chaos.plan import plan_faults
from tests.chaos.releases import RELEASE_BEFORE, MissingRelease, check_out
from tests.chaos.work_shares import OLDER_RELEASE, THIS_RELEASE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SEED, SECONDS, INTERVAL = 7714, 24.0, 0.5


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    home = tmp_path_factory.mktemp("mixed")
    try:
        release = check_out(RELEASE_BEFORE, home / "before")
    except MissingRelease as missing:
        pytest.skip(str(missing))
    started = Cluster(home, MIXED_FLEET, release.code)
    try:
        started.start_all()
        yield started
    finally:
        started.stop_all()


def test_two_releases_side_by_side_keep_the_promises(cluster: Cluster) -> None:
    planned = plan_faults(SEED, SECONDS, interval=INTERVAL, fleet=MIXED_FLEET)

    result = run_round(
        cluster, planned, seed=SEED, seconds=SECONDS, print_line=lambda _line: None
    )

    violations = find_violations(result.evidence)
    assert not violations, "\n".join(map(str, violations))
    for shares in (result.evidence.runs_by_release, result.evidence.answers_by_release):
        assert shares.keys() == {THIS_RELEASE, OLDER_RELEASE}
