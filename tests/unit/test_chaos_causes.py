"""The referee of "why": which causes it allows for what was broken, and which it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.causes import check_causes, runs_to_explain
from tests.chaos.evidence import (
    Arrival,
    AttemptRecord,
    ClientCall,
    Evidence,
    Fault,
    FireTimeGrid,
    RunRecord,
    WhyAnswer,
)

AT = 1_000_000.0
ONCE = FireTimeGrid(int(AT * 1000))
CREATED = ClientCall("once1-1", "create", AT - 60, AT - 59.9, 201, ONCE)
CALL: dict[str, Any] = {
    "mark": "once1-1",
    "sent_at": AT + 1,
    "answered_at": AT + 1.1,
    "status": 200,
}


def make_run(state: str = "succeeded", *, sent: float = 30.0, **more: Any) -> RunRecord:
    run = RunRecord(
        "r",
        "t",
        "once1-1",
        int(AT * 1000),
        state,
        "",
        1,
        0,
        AT + sent,
        AT + sent + 0.1,
        False,
        (AttemptRecord(1, AT + sent),),
    )
    return run._replace(**more)


def make_evidence(
    run: RunRecord,
    code: str,
    *,
    verdict: str = "delivered",
    faults: tuple[Fault, ...] = (),
    calls: tuple[ClientCall, ...] = (CREATED,),
    behaviour: str = "ok",
    sent: float = 30.0,
) -> Evidence:
    arrival = Arrival(AT + sent, behaviour, run.mark, 0, "r", run.scheduled_ms)
    return Evidence(
        calls,
        [run],
        [arrival],
        faults,
        whys=[WhyAnswer("r", 200, verdict, code)],
    )


def fault(kind: str, *victims: str, lasts: float = 28.0) -> Fault:
    return Fault(kind, victims, AT - 1, AT - 1 + lasts)


POSTGRES = fault("PostgreSQL: SIGSTOP", "postgres")
WORKERS = fault("all workers: kill -9", "worker-1", "worker-2", "worker-3")
ONE = fault("worker: SIGSTOP", "worker-1")
ALL_ONE_BY_ONE = tuple(
    fault("worker: kill -9", f"worker-{number}") for number in (1, 2, 3)
)


@pytest.mark.parametrize(
    ("faults", "right", "wrong"),
    [
        ((POSTGRES,), "database_away", "workers_busy"),
        ((POSTGRES,), "database_away", "no_worker"),
        ((WORKERS,), "no_worker", "workers_busy"),
        # Where both were away, either may be named.
        ((POSTGRES, WORKERS), "database_away", "broker_away"),
        ((POSTGRES, *ALL_ONE_BY_ONE), "no_worker", "workers_busy"),
        (ALL_ONE_BY_ONE, "no_worker", "broker_away"),
        # One worker of three is no outage.
        ((ONE,), "workers_busy", "broker_away"),
        ((fault("Redis: SIGSTOP", "redis"),), "workers_busy", "database_away"),
        (
            (fault("PostgreSQL: kill -9 and promotion", "postgres"),),
            "workers_busy",
            "broker_away",
        ),
        ((), "workers_busy", "no_worker"),
        ((), "held_in_worker", "database_away"),
    ],
)
def test_the_cause_of_a_late_delivery_is_what_was_broken(
    faults: tuple[Fault, ...], right: str, wrong: str
) -> None:
    run = make_run()

    assert list(check_causes(make_evidence(run, right, faults=faults))) == []
    [found] = check_causes(make_evidence(run, wrong, faults=faults))
    assert found.rule == "why names another cause"


def test_workers_killed_while_postgres_was_stopped_may_have_been_the_cause() -> None:
    run = make_run(sent=8.0)
    stopped = Fault("PostgreSQL: SIGSTOP", ("postgres",), AT - 2, AT + 6.5)
    killed = Fault("all workers: kill -9", WORKERS.victims, AT - 1, AT + 2)
    restarted = Fault("all workers: rolling restart", WORKERS.victims, AT + 6, AT + 9)
    two = replace(killed, victims=WORKERS.victims[:2])

    def finds(code: str, fault: Fault) -> bool:
        evidence = make_evidence(run, code, faults=(stopped, fault), sent=8.0)
        return bool(list(check_causes(evidence)))

    for fault in (killed, restarted):
        assert not finds("no_worker", fault)
        assert not finds("database_away", fault)
        assert finds("workers_busy", fault)
    # The third worker was at work until PostgreSQL was stopped, and afterwards.
    assert finds("no_worker", two)


def test_three_workers_of_four_are_no_outage() -> None:
    evidence = make_evidence(make_run(), "workers_busy", faults=(WORKERS,))
    of_four = replace(evidence, workers=(*evidence.workers, "worker-4"))

    assert list(check_causes(evidence))
    assert not list(check_causes(of_four))


def test_what_was_taken_on_time_may_have_waited_in_its_worker_through_a_fault() -> None:
    run = make_run(started_at=AT + 0.01)

    assert not list(
        check_causes(make_evidence(run, "held_in_worker", faults=(POSTGRES,)))
    )
    assert list(check_causes(make_evidence(run, "lane_full", faults=(POSTGRES,))))


def test_a_lost_worker_must_be_named() -> None:
    run = make_run(sent=0.1, lost_count=1, attempt_count=2)

    assert not list(check_causes(make_evidence(run, "worker_lost", sent=0.1)))
    assert list(check_causes(make_evidence(run, "workers_busy", sent=0.1)))


@pytest.mark.parametrize(
    ("state", "more", "right", "wrong"),
    [
        ("skipped", {"overlap": "skip"}, "overlapped", "queue_full"),
        ("skipped", {"overlap": "queue_one"}, "queue_full", "overlapped"),
        ("missed", {}, "not_newest", "too_late"),
        ("missed", {}, "not_newest", "cut_off"),
    ],
)
def test_what_was_not_sent_has_the_cause_of_its_policy(
    state: str, more: dict[str, Any], right: str, wrong: str
) -> None:
    run = make_run(state, **more)

    for code, violations in ((right, 0), (wrong, 1)):
        evidence = make_evidence(run, code, verdict="did_not_fire")
        assert len(list(check_causes(evidence))) == violations


@pytest.mark.parametrize(
    ("sent", "right", "wrong"),
    [(4.0, "not_newest", "too_late"), (9.0, "too_late", "not_newest")],
)
def test_a_cron_that_makes_up_for_nothing_has_a_grace(
    sent: float, right: str, wrong: str
) -> None:
    cron = replace(CREATED, is_cron=True, makes_up=False)
    run = make_run("missed", sent=sent)

    for code, violations in ((right, 0), (wrong, 1)):
        evidence = make_evidence(run, code, verdict="did_not_fire", calls=(cron,))
        assert len(list(check_causes(evidence))) == violations


@pytest.mark.parametrize(
    ("verb", "right"), [("delete", "removed"), ("pause", "paused_by_user")]
)
def test_what_was_cancelled_has_the_cause_of_its_call(verb: str, right: str) -> None:
    stop = ClientCall(verb=verb, **CALL)
    run = make_run("cancelled")

    for code, violations in ((right, 0), ("replaced", 1)):
        evidence = make_evidence(
            run, code, verdict="did_not_fire", calls=(CREATED, stop)
        )
        assert len(list(check_causes(evidence))) == violations


@pytest.mark.parametrize(
    ("claimed", "kind", "violations"),
    [
        (0.2, "worker: SIGSTOP", 0),
        (0.2, "worker: kill -9", 1),
        (5.0, "worker: SIGSTOP", 1),
    ],
)
def test_a_worker_that_was_frozen_with_a_request_knows_of_no_delay(
    claimed: float, kind: str, violations: int
) -> None:
    run = make_run(sent=claimed)
    evidence = make_evidence(run, "delivered", faults=(fault(kind, "worker-1"),))

    assert len(list(check_causes(evidence))) == violations


def test_the_release_before_takes_what_a_version_cut_off_for_a_pause() -> None:
    mark = "dated1-1"
    created = replace(CREATED, mark=mark, calendar="off", calendar_use="hold")
    stop = ClientCall(verb="pause", **CALL | {"mark": mark})
    run = make_run("cancelled", mark=mark)
    evidence = make_evidence(
        run, "not_caught_up", verdict="did_not_fire", calls=(created, stop)
    )
    mixed = replace(evidence, runs_by_release={"the release before": 1})

    assert len(list(check_causes(evidence))) == 1
    assert list(check_causes(mixed)) == []


def test_a_failure_has_the_cause_of_its_target() -> None:
    run = make_run("failed")

    for code, violations in (("target_answered", 0), ("no_answer", 1)):
        evidence = make_evidence(run, code, verdict="failed", behaviour="fail")
        assert len(list(check_causes(evidence))) == violations


def test_another_verdict_and_no_answer_are_violations() -> None:
    evidence = make_evidence(make_run("failed"), "no_answer")
    silent = replace(evidence, whys=[WhyAnswer("r", 404)])

    rules = [found.rule for each in (evidence, silent) for found in check_causes(each)]

    assert rules == ["why says another verdict", "why has no answer"]


def test_all_that_was_not_delivered_on_time_is_asked_about() -> None:
    late, failed = make_run(run_id="a"), make_run("failed", run_id="b")
    prompt, notice = make_run(run_id="c"), make_run(run_id="d", mark="notices")
    arrivals = [
        Arrival(AT + lateness, "ok", "once1-1", 0, run_id, late.scheduled_ms)
        for run_id, lateness in (("a", 30), ("b", 0.1), ("c", 0.1), ("d", 30))
    ]

    asked = runs_to_explain([late, failed, prompt, notice], arrivals)

    assert [run.run_id for run in asked] == ["a", "b"]
