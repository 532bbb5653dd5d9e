"""The referee of the rounds over cells sees each violation that is planted, and no other."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from tests.chaos.cells.cell_group import first_homes
from tests.chaos.cells.evidence import (
    CellRows,
    GroupEvidence,
    MoveRecord,
    PlacedFault,
    RoutedAnswer,
    Stay,
    TenantRecord,
)
from tests.chaos.cells.faults import CELL_KINDS, SHARED_KINDS
from tests.chaos.cells.group_report import own_recovery_times
from tests.chaos.cells.invariants import find_group_violations
from tests.chaos.cells.lateness import (
    BESIDE,
    LATE,
    MIN_SAMPLES,
    NORMAL,
    OWN,
    collect_samples,
    lateness_of_cells,
)
from tests.chaos.cells.plan import PlannedMove, plan_group, split_victims
from tests.chaos.evidence import (
    NEVER,
    Arrival,
    AttemptRecord,
    ClientCall,
    Fault,
    FireTimeGrid,
    RunRecord,
    TargetNote,
)

HOMES = {1: "cell-1", 2: "cell-2"}
TENANTS = [
    TenantRecord(f"tenant-{number}", number, (Stay(cell, 0.0),))
    for number, cell in HOMES.items()
]
# A second of fire times has so many of them.
PER_SECOND = 20
STEP, TASKS = 1000 // PER_SECOND, 10
FIRST, END = 10_000, 70_000
KILL = Fault("worker: kill -9", ("worker-1",), 30.0, 33.0, loses_requests=True)


def mark_of(number: int, task: int = 0) -> str:
    return f"steady{number}-{task}"


def make_run(number: int, at: int) -> RunRecord:
    task, second = at // STEP % TASKS, at / 1000
    mark = mark_of(number, task)
    return RunRecord(
        f"{mark}@{at}", f"task {mark}", mark, at, "succeeded", "", 1, 0,
        second + 0.01, second + 0.03, False, (AttemptRecord(1, second + 0.01),),
    )  # fmt: skip


def make_runs(number: int) -> list[RunRecord]:
    """All fire times of the tasks of a tenant, which fire in turns."""
    return [make_run(number, at) for at in range(FIRST, END, STEP)]


def arrive(run: RunRecord, after: float = 0.02) -> Arrival:
    at = run.scheduled_ms / 1000 + after
    return Arrival(at, "ok", run.mark, 0, run.run_id, run.scheduled_ms)


def rows_of(number: int, **changes: Any) -> CellRows:
    runs = make_runs(number)
    rows = CellRows(
        HOMES[number],
        {f"tenant-{number}": False},
        {run.task_id: f"tenant-{number}" for run in runs},
        runs,
    )
    return rows._replace(**changes)


def creates(number: int) -> list[ClientCall]:
    """The creation of each task of a tenant."""
    grids = {
        mark_of(number, at // STEP % TASKS): FireTimeGrid(at, TASKS * STEP, END - STEP)
        for at in range(FIRST, FIRST + TASKS * STEP, STEP)
    }
    return [
        ClientCall(mark, "create", 1.0, 1.1, 201, grid) for mark, grid in grids.items()
    ]


def seen(**changes: Any) -> GroupEvidence:
    """Two cells with a tenant each, and all that their tasks did."""
    rows = [rows_of(1), rows_of(2)]
    evidence = GroupEvidence(
        TENANTS,
        [*creates(1), *creates(2)],
        [arrive(run) for each in rows for run in each.runs],
        rows,
        {"tenant-1": "cell-1", "tenant-2": "cell-2"},
    )
    return replace(evidence, **changes)


def rules(evidence: GroupEvidence) -> set[str]:
    return {violation.rule for violation in find_group_violations(evidence)}


def delayed(number: int, since: float, until: float, by: float) -> list[Arrival]:
    """All arrivals, of which those of a tenant are late for a while."""
    return [
        arrive(run, by if each == number and since <= run.scheduled_ms / 1000 < until else 0.02)
        for each in HOMES
        for run in make_runs(each)
    ]  # fmt: skip


def test_a_round_without_fault_has_no_violation() -> None:
    assert find_group_violations(seen()) == []


def test_each_tenant_is_judged_as_if_it_were_alone() -> None:
    rows = [rows_of(1, runs=make_runs(1)[1:]), rows_of(2)]

    assert rules(seen(rows=rows)) == {
        "a fire time without a run",
        "an arrival of no run",
    }


def test_a_run_that_was_lost_needs_a_fault_of_its_own_cell() -> None:
    runs = make_runs(1)
    lost = runs[450]._replace(attempt_count=2, lost_count=1)
    lost = lost._replace(attempts=(*lost.attempts, AttemptRecord(2, 32.6)))
    runs[450] = lost
    rows = [rows_of(1, runs=runs), rows_of(2)]

    of_own = seen(rows=rows, faults=[PlacedFault("cell-1", KILL)])
    of_other = seen(rows=rows, faults=[PlacedFault("cell-2", KILL)])

    assert "a run was lost though no worker was" not in rules(of_own)
    assert "a run was lost though no worker was" in rules(of_other)


def test_a_tenant_in_two_cells_is_found() -> None:
    copied = rows_of(1, cell="cell-2")

    found = rules(seen(rows=[rows_of(1), rows_of(2), copied]))

    assert {
        "a tenant does not live in one cell",
        "a task is in several cells",
        "a run is in several cells",
        "two runs for one fire time",
    } <= found


def test_what_is_left_of_a_tenant_that_moved_away_is_no_violation() -> None:
    left = rows_of(1, cell="cell-2", tenants={"tenant-1": True})

    assert find_group_violations(seen(rows=[rows_of(1), rows_of(2), left])) == []


def test_a_tenant_that_is_nowhere_is_found() -> None:
    rows = [rows_of(1, tenants={"tenant-1": True}), rows_of(2)]

    assert "a tenant does not live in one cell" in rules(seen(rows=rows))


def test_a_directory_that_names_another_cell_is_found() -> None:
    routes = {"tenant-1": "cell-2", "tenant-2": "cell-2"}

    assert rules(seen(routes=routes)) == {"the directory names another cell"}


@pytest.mark.parametrize("cell", ["cell-2", ""])
def test_an_answer_of_a_wrong_cell_is_found(cell: str) -> None:
    right = RoutedAnswer("tenant-1", 20.0, 20.1, 200, "cell-1")

    assert find_group_violations(seen(answers=[right])) == []
    assert rules(seen(answers=[right._replace(cell=cell)])) == {
        "an answer of a wrong cell"
    }


def test_both_cells_may_answer_while_a_tenant_moves() -> None:
    stays = (Stay("cell-1", 0.0, 40.0), Stay("cell-2", 30.0))
    moved = [TENANTS[0]._replace(stays=stays), TENANTS[1]]
    rows = [rows_of(1, cell="cell-2"), rows_of(2)]
    routes = {"tenant-1": "cell-2", "tenant-2": "cell-2"}
    answer = RoutedAnswer("tenant-1", 35.0, 35.1, 503, "cell-1")

    def found(at: float, cell: str) -> set[str]:
        one = answer._replace(sent_at=at, answered_at=at + 0.1, cell=cell)
        return rules(seen(tenants=moved, rows=rows, routes=routes, answers=[one]))

    assert found(35.0, "cell-1") == found(35.0, "cell-2") == set()
    assert found(20.0, "cell-2") == found(45.0, "cell-1") != set()


@pytest.mark.parametrize("status", [None, 503])
def test_a_call_that_failed_without_a_reason_is_found(status: int | None) -> None:
    failed = ClientCall(mark_of(1), "delete", 31.0, 31.1, status)
    later = ClientCall(mark_of(1), "delete", 80.0, 80.1, 200)
    calls = [*creates(1), *creates(2), failed, later]
    door = Fault("door: kill -9", ("haproxy",), 30.0, 33.0)

    def found(place: str, fault: Fault) -> set[str]:
        return rules(seen(calls=calls, faults=[PlacedFault(place, fault)]))

    assert found("haproxy", door) == found("cell-1", KILL) == set()
    assert found("directory", door) == found("cell-2", KILL) != set()


def test_a_report_that_a_wrong_cell_refused_is_found() -> None:
    run_id = make_runs(1)[0].run_id
    taken = TargetNote(12.0, "heartbeat", run_id, 200)
    late = TargetNote(12.0, "complete", run_id, 409)

    assert rules(seen(notes=[taken, late])) == set()
    assert rules(seen(notes=[taken._replace(value=404)])) == {"a report was refused"}


def test_a_move_that_brought_other_rows_is_found() -> None:
    move = MoveRecord("tenant-1", "cell-1", "cell-2", 20.0, 30.0, False, False)
    said = "CommandError: tasks_api_task is not the same at the target."

    assert rules(seen(moves=[move])) == set()
    assert rules(seen(moves=[move._replace(refusals=(said,))])) == {
        "a move brought other rows"
    }


def test_what_belongs_to_no_tenant_is_found() -> None:
    [strange] = make_runs(3)[:1]
    arrivals = [*seen().arrivals, arrive(strange)]

    assert rules(seen(arrivals=arrivals)) == {"an arrival of nobody"}


def test_a_part_that_ended_by_itself_is_found() -> None:
    assert rules(seen(failures=["cell-1: web ended by itself, with 1"])) == {
        "a part died by itself"
    }


def test_a_fire_time_belongs_to_what_was_broken_then() -> None:
    samples = collect_samples(seen(faults=[PlacedFault("cell-2", KILL)]))
    phases = {
        (each.cell, each.run.scheduled_ms // 1000): each.phase for each in samples
    }

    assert phases["cell-1", 20] == phases["cell-2", 20] == NORMAL
    assert phases["cell-1", 32] == BESIDE
    assert phases["cell-2", 32] == phases["cell-2", 40] == OWN
    # Later than what a start takes, and not yet as if nothing had been.
    assert ("cell-1", 40) not in phases
    assert phases["cell-1", 50] == phases["cell-2", 50] == NORMAL


def test_what_cells_share_is_nobodys_own_fault() -> None:
    door = Fault("door: kill -9", ("haproxy",), 30.0, 33.0)

    samples = collect_samples(seen(faults=[PlacedFault("haproxy", door)]))

    assert {each.phase for each in samples} == {NORMAL, BESIDE}


def test_a_cell_that_is_slow_while_another_one_is_broken_is_found() -> None:
    faults = [PlacedFault("cell-2", KILL)]
    slow = seen(faults=faults, arrivals=delayed(1, 30.0, 33.0, 0.3))
    itself = seen(faults=faults, arrivals=delayed(2, 30.0, 33.0, 0.3))

    assert rules(slow) == {"a cell was slow because something else was broken"}
    assert rules(itself) == set()
    [first, _] = lateness_of_cells(collect_samples(slow))
    assert (first.normal, first.beside) == pytest.approx((0.02, 0.3))
    assert min(first.normal_samples, first.beside_samples) >= MIN_SAMPLES


def test_noise_is_no_violation() -> None:
    faults = [PlacedFault("cell-2", KILL)]

    assert rules(seen(faults=faults, arrivals=delayed(1, 30.0, 33.0, 0.045))) == set()


def test_few_fire_times_say_nothing_of_a_cell() -> None:
    first = mark_of(1)
    runs = [run for run in make_runs(1) if run.mark == first]
    kept = {run.run_id for run in [*runs, *make_runs(2)]}

    evidence = seen(
        calls=[*(call for call in creates(1) if call.mark == first), *creates(2)],
        rows=[rows_of(1, runs=runs), rows_of(2)],
        faults=[PlacedFault("cell-2", KILL)],
        arrivals=[a for a in delayed(1, 30.0, 33.0, 0.3) if a.run_id in kept],
    )

    assert rules(evidence) == set()


def test_a_task_is_late_by_a_fault_of_its_own_cell_alone() -> None:
    late = delayed(1, 31.0, 31.05, LATE + 1)

    of_own = seen(faults=[PlacedFault("cell-1", KILL)], arrivals=late)
    of_other = seen(faults=[PlacedFault("cell-2", KILL)], arrivals=late)

    rule = "a task was late though nothing of its own was broken"
    assert rules(of_own) == set()
    assert rules(of_other) == {rule}
    assert rules(seen(arrivals=late)) == {rule}


def test_a_cell_recovers_when_it_delivers_on_time_again() -> None:
    evidence = seen(
        faults=[PlacedFault("cell-1", KILL)], arrivals=delayed(1, 30.0, 35.0, 9.0)
    )

    assert own_recovery_times(evidence) == {KILL.kind: [pytest.approx(2.02)]}


def test_a_fault_of_which_a_cell_did_not_recover_is_shown() -> None:
    evidence = seen(
        faults=[PlacedFault("cell-1", KILL)], arrivals=delayed(1, 30.0, 99.0, 9.0)
    )

    assert own_recovery_times(evidence) == {KILL.kind: [NEVER]}


def test_a_plan_is_the_same_for_the_same_seed() -> None:
    homes = first_homes(4)

    assert plan_group(7, 600, homes) == plan_group(7, 600, homes)
    assert plan_group(7, 600, homes) != plan_group(8, 600, homes)


@pytest.mark.parametrize("seed", range(20))
def test_a_long_plan_has_each_kind_in_each_cell_and_moves_of_all_fates(
    seed: int,
) -> None:
    homes = first_homes(4)

    planned = plan_group(seed, 600, homes)

    kinds = Counter(each.kind for each in planned)
    assert {kind.name for kind in (*CELL_KINDS, *SHARED_KINDS)} <= kinds.keys()
    moves = [each for each in planned if isinstance(each, PlannedMove)]
    assert len(moves) >= 12
    assert len({each.kind for each in moves}) == 3
    broken = {split_victims(each.victims)[0] for each in planned}
    assert set(homes.values()) <= broken
    # One tenant of each cell stays there.
    moved = {each.tenant for each in moves}
    assert {homes[name] for name in homes.keys() - moved} == set(homes.values())


@pytest.mark.parametrize("seed", range(20))
def test_one_place_is_broken_at_a_time(seed: int) -> None:
    planned = [
        each
        for each in plan_group(seed, 600, first_homes(4))
        if not isinstance(each, PlannedMove)
    ]

    for before, after in pairwise(planned):
        same = split_victims(before.victims)[0] == split_victims(after.victims)[0]
        assert same or before.at + before.seconds < after.at
