"""A short round over two cells: faults of each and of what they share, moves, no violation."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.door import HAPROXY, NOT_INSTALLED
from tests.chaos.cells.cell_group import CellGroup, first_homes
from tests.chaos.cells.group_round import run_group_round
from tests.chaos.cells.invariants import find_group_violations
from tests.chaos.cells.plan import PlannedMove, plan_group

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(HAPROXY is None, reason=NOT_INSTALLED),
]

CELLS = 2
# Its plan breaks both cells and what they share, and kills a move.
SEED, SECONDS = 11, 36.0


@pytest.fixture
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CellGroup]:
    started = CellGroup(tmp_path_factory.mktemp("f"), CELLS)
    try:
        started.start()
        yield started
    finally:
        started.stop()


def test_cells_that_are_broken_in_turn_keep_their_promises(group: CellGroup) -> None:
    planned = plan_group(SEED, SECONDS, first_homes(CELLS))

    result = run_group_round(
        *(group, planned),
        seed=SEED,
        seconds=SECONDS,
        print_line=lambda _line: None,
    )

    evidence = result.evidence
    violations = find_group_violations(evidence)
    assert not violations, "\n".join(map(str, violations))
    assert len(evidence.moves) == sum(isinstance(each, PlannedMove) for each in planned)
    assert len(evidence.faults) == len(planned)
    succeeded = [run for run in evidence.runs if run.state == "succeeded"]
    assert len(succeeded) > 500
