"""What the referee knows of clocks, poison, kept connections, and what must harm nobody."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from tests.chaos.evidence import (
    AttemptRecord,
    ClientCall,
    Evidence,
    Fault,
    FireTimeGrid,
    RunRecord,
    TargetNote,
)
from tests.chaos.faults import ACTS, KIND_BY_NAME, KINDS
from tests.chaos.invariants import find_violations
from tests.chaos.plan import LONG_ROUND, plan_faults
from tests.unit.test_chaos_run_invariants import (
    ALL,
    CREATE,
    arrival_of,
    rules,
    run_at,
    seen,
)

FIRST, *OTHERS = ALL


def told(*words: str, run: RunRecord = FIRST, arrivals: int = 1) -> set[str]:
    """What is wrong when the target noted this of one run, and the others are sound."""
    came = [arrival_of(run, after=0.02 + n / 100) for n in range(arrivals)]
    evidence = seen([run, *OTHERS], [*came, *map(arrival_of, OTHERS)])
    noted = [TargetNote(10.03, word, run.run_id, 0) for word in words]
    return rules(replace(evidence, notes=noted))


def test_a_kept_connection_that_closes_is_good_for_one_repetition_in_an_attempt() -> (
    None
):
    assert told("closed", arrivals=2) == set()
    assert told(arrivals=2) == {"a duplicate without a reason"}
    assert told("closed", "closed", arrivals=3) == {"a duplicate without a reason"}


def test_a_request_that_is_not_repeated_on_a_fresh_connection_is_found() -> None:
    failed = FIRST._replace(state="failed")

    assert told("closed", run=failed) == {"a success was taken for a failure"}


def test_a_signature_of_another_time_is_found() -> None:
    assert told("stale") == {"a request was signed with another time"}


@pytest.mark.parametrize("off", [-3600, -8, 8, 3600])
def test_an_attempt_that_is_written_down_with_another_time_is_found(off: int) -> None:
    run = FIRST._replace(attempts=(AttemptRecord(1, 10.02 + off),))

    assert told(run=run) == {"an attempt has another time"}


@pytest.mark.parametrize(
    ("answered", "status", "broken"),
    [
        (1.1, 400, {"a sound task was refused"}),
        (1.1, 422, {"a sound task was refused"}),
        (10.1, 400, set()),
        (1.1, 401, {"a good token was refused", "a sound task was refused"}),
        (1.1, 429, set()),
    ],
)
def test_a_refusal_without_a_reason_is_found(
    answered: float, status: int, broken: set[str]
) -> None:
    refused = ClientCall(
        "r", "create", 1.0, answered, status, FireTimeGrid(10_000, 4_000, 22_000)
    )

    assert rules(seen(ALL, calls=(CREATE, refused))) == broken


def test_a_cron_job_that_is_refused_is_found_whenever_it_would_begin() -> None:
    refused = ClientCall(
        "r", "create", 30.0, 30.1, 400, FireTimeGrid(0, 4_000), is_cron=True
    )

    assert rules(seen(ALL, calls=(CREATE, refused))) == {"a sound task was refused"}


def test_poison_that_multiplies_is_found() -> None:
    evidence = replace(seen(ALL), seconds=30.0, poison={"p": 150, "q": 7})

    assert find_violations(evidence) == []
    assert rules(replace(evidence, poison={"p": 20_000})) == {
        "a poisonous task multiplied"
    }


def steady(late: float, state: str = "succeeded") -> Evidence:
    run = run_at(30, mark="steady1-1", state=state)
    call = ClientCall("steady1-1", "create", 1.0, 1.1, 201, FireTimeGrid(30_000))
    calm = Fault("calm", (), 25.0, 45.0, is_harmless=True)
    arrivals = [*map(arrival_of, ALL), arrival_of(run, after=late)]
    return seen([*ALL, run], arrivals, (CREATE, call), (calm,))


def test_what_is_late_while_nothing_is_broken_is_found() -> None:
    late = steady(7.0)

    assert find_violations(steady(1.0)) == []
    assert rules(late) == {"late though nothing was broken"}
    broken = replace(late.faults[0], is_harmless=False)
    assert find_violations(replace(late, faults=(broken,))) == []


def test_what_never_came_while_nothing_was_broken_is_found() -> None:
    evidence = steady(1.0, state="missed")
    others = [each for each in evidence.arrivals if each.mark != "steady1-1"]

    assert "late though nothing was broken" in rules(replace(evidence, arrivals=others))


def test_a_name_may_stay_unresolved_only_while_name_servers_are_broken() -> None:
    reason = "the host was not found: its name servers do not answer"
    run = FIRST._replace(state="failed", reason=reason)
    evidence = seen([run, *OTHERS], list(map(arrival_of, OTHERS)))
    silent = Fault("name servers: silent", ("name servers",), 9.0, 11.0)

    assert find_violations(replace(evidence, faults=(silent,))) == []
    assert rules(evidence) == {"a run is said to be sent that was not"}


def test_a_long_round_has_each_act_once_and_a_short_one_none() -> None:
    acts = [{kind.name for kind in kinds} for _, kinds in ACTS]

    for seed in range(5):
        played = Counter(each.kind for each in plan_faults(seed, LONG_ROUND))
        assert [sum(played[name] for name in act) for act in acts] == [1] * len(acts)
        short = {each.kind for each in plan_faults(seed, LONG_ROUND - 1)}
        assert short.isdisjoint(set().union(*acts))


def test_a_plan_of_some_kinds_has_no_others() -> None:
    kinds = {each.kind for each in plan_faults(1, 60, only="clock")}

    assert kinds == {kind.name for kind in KINDS if "clock" in kind.name}
    assert {
        each.kind for each in plan_faults(1, 60, only="promotion")
    } < KIND_BY_NAME.keys()


def unrung(late: float, *others: Fault) -> Evidence:
    """A hundred fire times while Redis is away, three of which are late."""
    runs = [run_at(30 + n / 10, mark=f"steady1-{n}") for n in range(100)]
    grids = [FireTimeGrid(run.scheduled_ms) for run in runs]
    calls = tuple(
        ClientCall(run.mark, "create", 1.0, 1.1, 201, grid)
        for run, grid in zip(runs, grids, strict=True)
    )
    arrivals = [*map(arrival_of, ALL), *map(arrival_of, runs[3:])]
    arrivals += [arrival_of(run, after=late) for run in runs[:3]]
    away = Fault("Redis: kill -9", ("redis",), 25.0, 45.0, takes_bells=True)
    return seen([*ALL, *runs], arrivals, (CREATE, *calls), (away, *others))


def test_what_is_late_while_only_the_bells_are_gone_is_found() -> None:
    killed = Fault("worker: kill -9", ("worker-1",), 29.0, 31.0, loses_requests=True)

    assert find_violations(unrung(1.2)) == []
    assert rules(unrung(1.9)) == {"late though only bells were gone"}
    assert find_violations(unrung(1.9, killed)) == []
