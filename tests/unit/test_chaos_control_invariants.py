"""The referee sees what breaks the promises of lanes, calendars, ends and backfills."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.calendar_invariants import WAS_HELD
from tests.chaos.control_calls import (
    AccountAnswer,
    BackfillCall,
    CalendarCall,
    CalendarHistory,
    ControlCalls,
    LaneCall,
)
from tests.chaos.evidence import (
    Arrival,
    AttemptRecord,
    ClientCall,
    Evidence,
    FireTimeGrid,
    FireTimeUnion,
    RunRecord,
)
from tests.unit.test_chaos_run_invariants import ALL, CREATE, arrival_of, rules, seen

LANE = LaneCall("crm", "create", 1.0, 1.1, 201, rate=2, concurrency=2)
PAUSE = LaneCall("crm", "pause", 9.0, 9.1, 200)
RESUME = LaneCall("crm", "resume", 30.0, 30.1, 200)
SPAN = CalendarCall("off", 1.0, 1.1, 201, ((13_000.0, 19_000.0),))


def laned(*starts: float, seconds: float = 0.0) -> Evidence:
    """One-time tasks of a lane that were due at 10, and started at these moments."""
    calls, runs, arrivals = [], [], []
    for number, at in enumerate(starts):
        mark = f"laned1-{number}"
        attempt = AttemptRecord(1, at, seconds)
        runs.append(
            RunRecord(
                mark, f"task {mark}", mark, 10_000, "succeeded", "",
                1, 0, at, at + seconds + 0.01, False, (attempt,),
            )
        )  # fmt: skip
        arrivals.append(Arrival(at + 0.001, "ok", mark, 0, mark, 10_000))
        once = FireTimeGrid(10_000)
        calls.append(ClientCall(mark, "create", 1.2, 1.3, 201, once, lane="crm"))
    return Evidence(calls, runs, arrivals, control=ControlCalls(lanes=[LANE]))


def dated(use: str, *runs: RunRecord, **more: Any) -> set[str]:
    """What is wrong with the runs of a task on a calendar that covers 13 to 19."""
    create = replace(CREATE, calendar="off", calendar_use=use, **more)
    evidence = seen([*runs], calls=(create,))
    return rules(replace(evidence, control=ControlCalls(calendars=[SPAN])))


def delayed(run: RunRecord, to: float) -> RunRecord:
    attempt = AttemptRecord(1, to)
    reason = f"Waited: {WAS_HELD} a."
    return run._replace(
        started_at=to, finished_at=to + 0.1, attempts=(attempt,), reason=reason
    )


def test_a_lane_that_keeps_its_limits_has_no_violation() -> None:
    assert rules(laned(10.0, 10.5, 11.01, 11.6)) == set()


def test_more_starts_than_the_rate_are_found() -> None:
    found = rules(laned(10.0, 10.1, 10.2))

    assert found == {
        "a lane started more than its rate",
        "more arrived from a lane than its rate",
    }


def test_a_higher_rate_counts_from_its_change_on() -> None:
    evidence = laned(10.0, 10.1, 10.2)
    change = LaneCall("crm", "change", 9.9, 9.95, 200, rate=3)
    later = replace(change, sent_at=20.0, answered_at=20.1)

    for call, is_broken in ((change, False), (later, True)):
        control = ControlCalls(lanes=[LANE, call])
        assert bool(rules(replace(evidence, control=control))) == is_broken


def test_more_requests_under_way_than_the_concurrency_are_found() -> None:
    found = rules(laned(10.0, 11.1, 12.2, seconds=5))

    assert found == {"more requests of a lane were under way than its concurrency"}


def test_a_start_in_a_paused_lane_is_found() -> None:
    control = ControlCalls(lanes=[LANE, PAUSE, RESUME])

    late = replace(laned(10.5), control=control)
    assert rules(late) == {"a paused lane started a request"}
    assert rules(replace(laned(10.2), control=control)) == set()


def test_a_fire_time_that_a_calendar_leaves_out_has_no_run() -> None:
    first, *_, last = ALL

    assert dated("exclude", first, last) == set()
    assert dated("exclude", *ALL) == {"a run of a fire time that is left out"}
    assert dated("exclude", first) == {"a fire time without a run"}
    assert dated("only", *ALL[1:3]) == set()
    assert dated("only", *ALL) == {"a run of a fire time that is left out"}


def test_a_held_run_goes_after_the_hold_and_in_order() -> None:
    first, second, third, last = ALL
    in_order = [first, delayed(second, 19.1), delayed(third, 19.6), last]
    swapped = [first, delayed(second, 19.6), delayed(third, 19.1), last]

    assert "a run was sent while it was held" in dated("hold", *ALL)
    assert "a run was sent while it was held" not in dated("hold", *in_order)
    assert "held runs went in another order" in dated("hold", *swapped)
    assert "held runs went in another order" not in dated("hold", *in_order)


def test_the_release_before_may_send_in_a_hold_what_was_due_at_a_version() -> None:
    first, second, third, last = ALL
    late = delayed(second, 14.6)._replace(reason="")
    create = replace(CREATE, calendar="off", calendar_use="hold")
    evidence = seen([first, late, delayed(third, 19.6), last], calls=(create,))
    version = replace(SPAN, sent_at=13.9, answered_at=14.5)
    after = replace(SPAN, sent_at=15.0, answered_at=15.1)

    def found(*versions: CalendarCall, **more: Any) -> bool:
        control = ControlCalls(calendars=[SPAN, *versions])
        round_seen = replace(evidence, control=control, **more)
        return "a run was sent while it was held" in rules(round_seen)

    mixed = {"runs_by_release": {"this release": 3, "the release before": 1}}
    assert not found(version, **mixed)
    assert found(version)
    assert found(after, **mixed)
    assert found(**mixed)


def test_a_version_may_count_from_its_request_on() -> None:
    free = CalendarCall("off", 15.0, 16.0, 200, ())
    history = CalendarHistory([SPAN, free])

    assert history.must_cover(14_999)
    assert history.may_cover(15_500)
    assert not history.must_cover(15_500)
    assert not history.may_cover(16_001)
    assert history.must_hold_until(14_000) == 15_000


def test_runs_beyond_max_runs_are_found() -> None:
    ends = replace(CREATE, max_runs=3)

    assert rules(seen(ALL[:3], calls=(ends,))) == set()
    assert rules(seen(ALL, calls=(ends,))) == {"a task made more runs than max_runs"}


@pytest.mark.parametrize("count", [1, 2])
def test_a_backfill_makes_as_many_runs_as_it_says(count: int) -> None:
    slot = ALL[1]._replace(run_id="again", backfill="f")
    evidence = seen([*ALL, slot], [*map(arrival_of, ALL), arrival_of(slot)])
    call = BackfillCall("a", 20.0, 20.1, 202, 12_000, 20_000, "f", count)

    found = rules(replace(evidence, control=ControlCalls(backfills=[call])))

    assert found == (set() if count == 1 else {"a backfill lost runs"})
    assert rules(evidence) == {"a backfill that nobody asked for"}


def test_more_requests_than_the_bound_of_a_token_are_found() -> None:
    evidence = laned(10.0, 10.6)
    calls = [replace(call, mark=f"bounded{call.mark}") for call in evidence.calls]
    runs = [run._replace(mark=f"bounded{run.mark}") for run in evidence.runs]
    arrivals = [each._replace(mark=f"bounded{each.mark}") for each in evidence.arrivals]
    found = [
        rules(Evidence(calls, runs, arrivals, bounded_runs=bound)) for bound in (2, 1)
    ]

    assert found == [set(), {"a bounded token started more requests than its bound"}]


def test_accounts_balance() -> None:
    evidence = seen(ALL)
    for account, found in (
        (AccountAnswer("a", 200), set()),
        (AccountAnswer("a", 404), {"an account has no answer"}),
        (AccountAnswer("a", 200, missing=1), {"an account does not balance"}),
    ):
        assert rules(replace(evidence, accounts=[account])) == found


def test_a_resume_that_catches_up_leaves_no_gap() -> None:
    pause = ClientCall("a", "pause", 11.0, 11.1, 200)
    resume = ClientCall("a", "resume", 20.0, 20.1, 200, catch_up="all")
    second, third = (delayed(run, 20.2) for run in ALL[1:3])
    runs = [ALL[0], second, third, ALL[3]]
    arrivals = [
        arrival_of(run, after=run.first_claim + 0.01 - run.scheduled_ms / 1000)
        for run in runs
    ]

    for made, found in ((runs, set()), (runs[:2], {"a fire time without a run"})):
        evidence = seen(made, arrivals[: len(made)], (CREATE, pause, resume))
        assert rules(evidence) == found


def test_a_task_that_ended_in_its_pause_makes_up_for_nothing() -> None:
    pause = ClientCall("a", "pause", 11.0, 11.1, 200)
    # It was said to a group of which other tasks go on.
    resume = ClientCall("a", "resume", 22.1, 22.2, 200, catch_up="all")

    assert not rules(seen(ALL[:1], calls=(CREATE, pause, resume)))


def test_a_union_has_each_fire_time_once() -> None:
    union = FireTimeUnion(
        (FireTimeGrid(0, 2000, 6000), FireTimeGrid(0, 3000, 6000), FireTimeGrid(7000))
    )

    assert list(union.between(-1, 100)) == [0, 2000, 3000, 4000, 6000, 7000]
    assert (union.start, union.end) == (0, 7000)
    has = union.__contains__
    assert (has(3000), has(5000)) == (True, False)
