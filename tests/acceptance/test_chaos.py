"""A short round of `make chaos`: most kinds of faults, two a second, and no violation."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.cluster import Site
from tests.chaos.faults import KINDS, plan
from tests.chaos.invariants import judge
from tests.chaos.orchestrator import play

pytestmark = pytest.mark.timeout(300)

# Of the plans of this length, few have more of the kinds in them.
SEED, SECONDS, EVERY = 4752, 24.0, 0.5
# Of the kinds: some for want of victims that are whole, and where a machine is busy, some
# more whose victims take longer to stop or to come back.
LEFT_OUT = 18


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    begun = Site(tmp_path_factory.mktemp("chaos"))
    try:
        begun.begin()
        yield begun
    finally:
        begun.finish()


def test_a_service_that_is_broken_twice_a_second_keeps_its_promises(site: Site) -> None:
    planned = plan(SEED, SECONDS, every=EVERY)

    outcome = play(site, planned, seed=SEED, seconds=SECONDS, say=lambda _line: None)

    found = judge(outcome.evidence)
    assert not found, "\n".join(map(str, found))
    broken = {fault.kind for fault in outcome.evidence.faults}
    assert len(broken) >= len(KINDS) - LEFT_OUT
    assert sum(run.state == "succeeded" for run in outcome.evidence.runs) > 50
