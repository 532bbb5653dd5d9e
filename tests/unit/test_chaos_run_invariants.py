"""The referee of the fault tests sees each violation that is planted, and no other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.evidence import (
    NEVER,
    Arrival,
    AttemptRecord,
    ClientCall,
    Evidence,
    Fault,
    FireTimeGrid,
    RunRecord,
    TargetNote,
)
from tests.chaos.faults import KINDS
from tests.chaos.invariants import find_violations
from tests.chaos.plan import plan_faults
from tests.chaos.promptness import count_duplicates, recovery_times

# A task that fires at 10, 14, 18 and 22; others keep dispatch visibly at work to 60.
FIRE_TIMES = FireTimeGrid(10_000, 4_000, 22_000)
CREATE = ClientCall("a", "create", 1.0, 1.1, 201, FIRE_TIMES)
PAUSE = ClientCall("a", "pause", 15.0, 15.1, 200)
RESUME = ClientCall("a", "resume", 20.0, 20.1, 200)
DELETE = ClientCall("a", "delete", 15.0, 15.1, 200)
KILL = Fault("worker: kill -9", ("worker-1",), 13.9, 16.0, loses_requests=True)


def run_at(second: float, *, mark: str = "a", **changes: Any) -> RunRecord:
    at = second + 0.01
    attempts = (AttemptRecord(1, at + 0.01),)
    run = RunRecord(
        f"{mark}@{second:g}", f"task {mark}", mark, round(second * 1000), "succeeded", "",
        1, 0, at, at + 0.1, False, attempts,
    )  # fmt: skip
    return run._replace(**changes)


def left_out(second: float, state: str, **changes: Any) -> RunRecord:
    """A fire time of which nothing was sent."""
    return run_at(
        second, state=state, attempt_count=0, started_at=None, attempts=(), **changes
    )


def arrival_of(run: RunRecord, *, after: float = 0.02, how: str = "ok") -> Arrival:
    at = run.scheduled_ms / 1000 + after
    return Arrival(at, how, run.mark, 0, run.run_id, run.scheduled_ms)


def seen(
    runs: list[RunRecord],
    arrivals: list[Arrival] | None = None,
    calls: tuple[ClientCall, ...] = (CREATE,),
    faults: tuple[Fault, ...] = (),
) -> Evidence:
    """What was seen, beside a task that shows that dispatch goes on."""
    others = [run_at(each, mark="b") for each in (12, 16, 20, 60)]
    b = ClientCall("b", "create", 1.0, 1.1, 201, FireTimeGrid(12_000, 4_000, 20_000))
    c = ClientCall("b", "create", 1.0, 1.1, 201, FireTimeGrid(60_000))
    if arrivals is None:
        arrivals = [arrival_of(run) for run in runs if run.attempt_count]
    return Evidence(
        [b, c, *calls],
        [*others, *runs],
        [*map(arrival_of, others), *arrivals],
        faults,
    )


def rules(evidence: Evidence) -> set[str]:
    return {violation.rule for violation in find_violations(evidence)}


ALL = [run_at(second) for second in (10, 14, 18, 22)]


def test_a_round_without_fault_has_no_violation() -> None:
    assert find_violations(seen(ALL)) == []


def test_a_fire_time_without_a_run_is_found() -> None:
    assert rules(seen([ALL[0], *ALL[2:]])) == {"a fire time without a run"}


@pytest.mark.parametrize("second", [9.0, 12.0, 26.0])
def test_a_run_beside_the_grid_is_found(second: float) -> None:
    assert rules(seen([*ALL, run_at(second)])) == {"a run that nobody asked for"}


def test_a_run_while_paused_is_found() -> None:
    calls = (CREATE, PAUSE, RESUME)

    assert find_violations(seen([ALL[0], ALL[1], ALL[3]], calls=calls)) == []
    assert "a run that nobody asked for" in rules(seen(ALL, calls=calls))


def test_a_fire_time_around_a_pause_may_be_or_not() -> None:
    calls = (CREATE, replace(PAUSE, sent_at=13.9, answered_at=14.1), RESUME)

    assert find_violations(seen([ALL[0], ALL[1], ALL[3]], calls=calls)) == []
    assert find_violations(seen([ALL[0], ALL[3]], calls=calls)) == []


def test_a_fire_time_that_nobody_dispatched_before_a_removal_is_missed() -> None:
    late = run_at(
        5,
        mark="b",
        started_at=30.0,
        finished_at=30.1,
        attempts=(AttemptRecord(1, 30.0),),
    )
    b = ClientCall("b", "create", 1.0, 1.1, 201, FireTimeGrid(5_000))
    evidence = Evidence([b, CREATE, DELETE], [late], [arrival_of(late, after=25.1)])

    assert rules(evidence) == {"a fire time without a run"}


def test_what_an_unanswered_call_may_have_done_is_no_violation() -> None:
    unheard = replace(DELETE, status=None)

    assert find_violations(seen(ALL, calls=(CREATE, unheard))) == []
    assert find_violations(seen(ALL[:2], calls=(CREATE, unheard))) == []


@pytest.mark.parametrize("stop", [PAUSE, DELETE])
def test_a_request_after_an_acknowledged_stop_is_found(stop: ClientCall) -> None:
    claimed_after = run_at(14.0, started_at=15.2, attempts=(AttemptRecord(1, 15.3),))
    evidence = seen(
        [ALL[0], claimed_after], [arrival_of(claimed_after, after=1.3)], (CREATE, stop)
    )

    assert {
        "a run was claimed after its task was stopped",
        "a run was sent after its task was stopped",
    } <= rules(evidence)


@pytest.mark.parametrize(("started_at", "is_found"), [(19.5, True), (19.95, False)])
def test_a_claim_may_begin_right_before_its_task_goes_on(
    started_at: float, is_found: bool
) -> None:
    claimed = run_at(14.0, started_at=started_at, attempts=(AttemptRecord(1, 20.05),))
    evidence = seen([ALL[0], claimed], calls=(CREATE, PAUSE, RESUME))

    found = "a run was claimed after its task was stopped" in rules(evidence)
    assert found == is_found


def test_a_request_under_way_when_its_task_is_stopped_may_arrive() -> None:
    arrivals = [arrival_of(ALL[0]), arrival_of(ALL[1], after=1.3)]

    assert find_violations(seen(ALL[:2], arrivals, (CREATE, DELETE))) == []


def test_a_request_as_it_was_before_its_job_was_replaced_is_found() -> None:
    job = ClientCall(
        "a", "create", 1.0, 1.1, 202, FireTimeGrid(2_000, 4_000), is_cron=True
    )
    other = replace(
        job,
        verb="replace",
        sent_at=11.0,
        answered_at=11.1,
        version=1,
        fire_times=FireTimeGrid(3_000, 4_000),
    )
    gone = replace(DELETE, is_cron=True)
    runs = [run_at(second) for second in (2, 6, 10, 15)]
    arrivals = [arrival_of(run) for run in runs]
    new = arrivals[-1]._replace(version=1)

    assert find_violations(seen(runs, [*arrivals[:3], new], (job, other, gone))) == []
    assert rules(seen(runs, arrivals, (job, other, gone))) == {
        "a run was sent as it was before its task was replaced"
    }


def test_a_first_attempt_may_have_been_taken_before_its_job_was_replaced() -> None:
    job = ClientCall(
        "a", "create", 1.0, 1.1, 202, FireTimeGrid(10_000, 4_000), is_cron=True
    )
    same = replace(job, verb="replace", sent_at=9.9, answered_at=10.01, version=1)
    gone = replace(DELETE, is_cron=True, sent_at=13.0, answered_at=13.1)
    attempts = (AttemptRecord(1, 10.02, 0.1), AttemptRecord(2, 11.02, 0.1))
    run = run_at(10, attempt_count=2, started_at=11.01, attempts=attempts)
    run = run._replace(finished_at=11.2, is_retried=True)
    first, again = arrival_of(run, after=0.05), arrival_of(run, after=1.05)
    calls = (job, same, gone)

    assert not rules(seen([run], [first, again._replace(version=1)], calls))
    assert rules(seen([run], [first, again], calls)) == {
        "a run was sent as it was before its task was replaced"
    }


def test_a_job_replaced_by_one_with_the_same_schedule_keeps_its_fire_times() -> None:
    job = ClientCall(
        "a", "create", 1.0, 1.1, 202, FireTimeGrid(2_000, 4_000), is_cron=True
    )
    same = replace(job, verb="replace", sent_at=5.9, answered_at=6.1)
    gone = replace(DELETE, is_cron=True)
    runs = [run_at(second) for second in (2, 6, 10, 14)]

    assert find_violations(seen(runs, calls=(job, same, gone))) == []
    assert rules(seen([runs[0], *runs[2:]], calls=(job, same, gone))) == {
        "a fire time without a run"
    }


def test_a_job_that_runs_at_once_when_its_moment_has_passed_may_do_so() -> None:
    late = ClientCall(
        "a", "create", 9.0, 11.0, 201, FireTimeGrid(10_000), runs_if_late=True
    )

    assert find_violations(seen([run_at(10.5)], calls=(late,))) == []
    assert rules(seen([run_at(11.5)], calls=(late,))) == {"a run that nobody asked for"}


def test_an_acknowledged_task_that_is_not_there_is_found() -> None:
    refused = replace(PAUSE, status=404)

    assert rules(seen(ALL, calls=(CREATE, refused))) == {
        "an acknowledged task was lost"
    }
    assert (
        find_violations(seen(ALL, calls=(CREATE, replace(refused, answered_at=22.1))))
        == []
    )


def test_duplicates_need_a_lost_worker() -> None:
    lost = ALL[1]._replace(
        attempt_count=2,
        lost_count=1,
        started_at=17.0,
        finished_at=17.1,
        attempts=(AttemptRecord(1, 14.01), AttemptRecord(2, 17.0)),
    )
    runs = [ALL[0], lost, *ALL[2:]]
    twice = [*map(arrival_of, runs), arrival_of(lost, after=3.1)]

    assert find_violations(seen(runs, twice, faults=(KILL,))) == []
    assert count_duplicates(seen(runs, twice)) == (1, 0)
    assert rules(seen(runs, twice)) == {"a run was lost though no worker was"}
    assert rules(seen(ALL, twice)) == {"a duplicate without a reason"}


def test_a_connection_that_is_cut_may_get_its_request_twice_and_not_three_times() -> (
    None
):
    failed = run_at(10, state="failed")
    cut = arrival_of(failed, how="reset")
    once = (replace(CREATE, fire_times=FireTimeGrid(10_000)),)

    assert find_violations(seen([failed], [cut, cut], once)) == []
    assert count_duplicates(seen([failed], [cut, cut], once)) == (0, 1)
    assert rules(seen([failed], [cut, cut, cut], once)) == {
        "a duplicate without a reason"
    }


Planted = Callable[[RunRecord], tuple[list[RunRecord], list[Arrival]]]


@pytest.mark.parametrize(
    ("rule", "plant"),
    [
        ("a run was sent early", lambda run: ([run], [arrival_of(run, after=-0.002)])),
        (
            "a run that never ended",
            lambda run: ([run._replace(state="running", finished_at=None)], [arrival_of(run)]),
        ),
        (
            "a run was cancelled though nobody stopped its task",
            lambda run: ([left_out(10, "cancelled")], []),
        ),
        ("a one-time task was left out", lambda run: ([left_out(10, "missed")], [])),
        (
            "a run was skipped that may overlap",
            lambda run: ([left_out(10, "skipped")], []),
        ),
        (
            "an attempt was not written down",
            lambda run: ([run._replace(attempts=())], [arrival_of(run)]),
        ),
        (
            "a run is said to be sent that was not",
            lambda run: ([run], []),
        ),
        (
            "a run was sent that is said not to be",
            lambda run: ([run._replace(state="missed")], [arrival_of(run)]),
        ),
        (
            "a failure was taken for a success",
            lambda run: ([run], [arrival_of(run, how="fail")]),
        ),
        (
            "a success was taken for a failure",
            lambda run: ([run._replace(state="failed")], [arrival_of(run)]),
        ),
        (
            "another attempt that nobody asked for",
            lambda run: (
                [run._replace(attempt_count=2, attempts=(AttemptRecord(1, 10.0), AttemptRecord(2, 11.0)))],
                [arrival_of(run)],
            ),
        ),
        (
            "an arrival with another task's or fire time's words",
            lambda run: ([run], [arrival_of(run)._replace(scheduled_ms=9_000)]),
        ),
        (
            "an arrival of no run",
            lambda run: ([run], [arrival_of(run), arrival_of(run)._replace(run_id="?")]),
        ),
        (
            "two runs for one fire time",
            lambda run: ([run, run._replace(run_id="twin")], [arrival_of(run)]),
        ),
        (
            "one task became several",
            lambda run: ([run, run._replace(run_id="twin", task_id="?")], [arrival_of(run)]),
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_single_run_is_found(rule: str, plant: Planted) -> None:
    runs, arrivals = plant(run_at(10))
    once = (replace(CREATE, fire_times=FireTimeGrid(10_000)),)

    assert rule in rules(seen(runs, arrivals, once))


def test_a_part_that_died_by_itself_is_found() -> None:
    evidence = replace(seen(ALL), part_failures=("beat-1 ended by itself, with 1",))

    assert rules(evidence) == {"a part died by itself"}


def test_recovery_is_the_time_until_something_is_on_time_again() -> None:
    late = arrival_of(ALL[1], after=3.0)
    outage = Fault("PostgreSQL: SIGSTOP", ("postgres",), 13.0, 16.5)
    evidence = Evidence((), (), [late, arrival_of(ALL[2])], (outage,))

    assert recovery_times(evidence)["PostgreSQL: SIGSTOP"] == [pytest.approx(1.52)]
    assert recovery_times(replace(evidence, arrivals=[late]))[outage.kind] == [NEVER]


def test_a_seed_gives_the_same_plan_in_which_every_kind_has_its_turn() -> None:
    planned = plan_faults(7, 600)

    assert planned == plan_faults(7, 600)
    assert planned != plan_faults(8, 600)
    counted = Counter(each.kind for each in planned)
    assert counted.keys() >= {kind.name for kind in KINDS}
    assert all(each.at + each.seconds <= 600 for each in planned)


def test_no_two_faults_of_a_plan_have_one_victim_at_a_time() -> None:
    held: dict[str, float] = {}
    for each in plan_faults(3, 600):
        for victim in each.victims:
            assert held.get(victim, 0.0) <= each.at
            held[victim] = each.at + each.seconds


def test_two_runs_at_once_are_found_where_one_is_to_wait() -> None:
    first, second = ALL[0]._replace(overlap="skip"), ALL[1]._replace(overlap="skip")
    first = first._replace(finished_at=15.0)
    after = TargetNote(13.9, "complete", first.run_id, 200)
    late = after._replace(noted_at=14.5)

    def judged(word: TargetNote) -> set[str]:
        evidence = seen([first, second, *ALL[2:]])
        return rules(replace(evidence, notes=[word]))

    assert judged(after) == set()
    assert judged(late) == {"two runs of one task at once"}
    assert judged(late._replace(value=409)) == set()


def test_what_came_after_its_run_had_ended_is_a_duplicate_and_no_overlap() -> None:
    lost = ALL[0]._replace(overlap="skip", lost_count=1, attempt_count=2)
    lost = lost._replace(attempts=(AttemptRecord(1, 10.02), AttemptRecord(2, 10.03)))
    others = [run._replace(overlap="skip") for run in ALL[1:]]
    arrivals = [arrival_of(lost), arrival_of(lost, after=4.5), *map(arrival_of, others)]

    kill = replace(KILL, began_at=9.9, repaired_at=10.0)
    assert find_violations(seen([lost, *others], arrivals, faults=(kill,))) == []


def work(state: str, *words: str) -> set[str]:
    run = ALL[0]._replace(state=state)
    arrivals = [arrival_of(run, how="work"), *map(arrival_of, ALL[1:])]
    said = [TargetNote(10.05, word, run.run_id, 200) for word in words]
    return rules(replace(seen([run, *ALL[1:]], arrivals), notes=said))


def test_what_a_target_said_of_its_work_is_what_became_of_it() -> None:
    assert work("succeeded", "heartbeat", "complete") == set()
    assert work("failed", "fail") == set()
    assert work("failed") == set()
    assert work("failed", "complete") == {
        "work that was done was not taken for it",
    }
    assert work("succeeded", "fail", "complete") == {
        "work that failed was taken for a success"
    }
    assert work("succeeded") == {"work was taken for done though nobody said so"}


def failing(*seconds: float, notices: int) -> set[str]:
    """A task that is to pause after two failures."""
    runs = [run_at(each, state="failed", pause_after=2) for each in seconds]
    arrivals = [arrival_of(run, how="fail") for run in runs]
    told = [TargetNote(14.2, "notice", f"n{n}", "task a") for n in range(notices)]
    endless = replace(CREATE, fire_times=FIRE_TIMES._replace(end=90_000))
    return rules(replace(seen(runs, arrivals, (endless,)), notes=told))


def test_a_task_that_fails_too_often_is_paused_and_notified_once() -> None:
    assert failing(10, 14, notices=1) == set()
    assert failing(10, 14, notices=0) == {"a pause without a notice"}
    assert failing(10, 14, notices=2) == {"two notices of one pause"}
    assert failing(10, 14, 38, notices=1) == {
        "a run after its task had failed too often"
    }
    assert "a notice of a pause that was not due" in failing(10, notices=1)
    assert "a fire time without a run" in failing(10, 18, notices=1)
