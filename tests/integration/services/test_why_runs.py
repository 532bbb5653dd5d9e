"""Why a run was late, failed, was not sent or waits: each cause, from what is stored of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from accounts.models import User, Via
from tasks_api.delivery import retry
from tasks_api.delivery.request import ClaimedRun, HttpResult
from tasks_api.domain.calendars import CalendarChoice
from tasks_api.domain.schedules import Interval, Once, Schedule
from tasks_api.domain.specs import Backoff, Misfire, Overlap, Surface, TaskSpec
from tasks_api.domain.states import RunState, Trouble
from tasks_api.domain.why.answers import Answer
from tasks_api.domain.why.causes import Cause, Verdict
from tasks_api.models import HeartbeatGap, Run, Task
from tasks_api.moving import freezing
from tasks_api.scheduler import rescue
from tasks_api.services import (
    cancellation,
    manual_runs,
    pausing,
    redrive,
    removal,
    tasks,
)
from tasks_api.services.why import why
from tasks_api.storage import run_rows, schedule_changes
from tasks_api.taking import leases
from tasks_api.worker.record import AttemptResult, record_results
from tests.conftest import tenant_of
from tests.integration.support.calendars import (
    change_calendar,
    make_calendar,
    task_on,
)
from tests.integration.support.long_work import accept_run, make_long_work
from tests.integration.support.moves import ignore
from tests.integration.support.reconciliation_model import MINUTE, let_pass, settle_all
from tests.integration.support.stored_tasks import (
    HOUR,
    SECOND,
    TARGET,
    take_due,
    take_waiting,
)

pytestmark = pytest.mark.django_db(transaction=True)

OK, BROKEN = HttpResult(200, "", 5), HttpResult(500, "", 5)
RETRIES = Backoff(max_attempts=2, min_delay=0, max_delay=0)


def make(user: User, schedule: Schedule, **rules: Any) -> Task:
    spec = TaskSpec(Surface.TASKS, TARGET, schedule, "{}", **rules)
    return tasks.create_task(user, spec, now=timezone.now())


def due_task(
    user: User, late: timedelta, *, every: timedelta | None = None, **rules: Any
) -> Task:
    """A task whose first fire time came some time ago, and that was stored before."""
    at = timezone.now() + 10 * SECOND
    task = make(user, Interval(at, every) if every else Once(at), **rules)
    let_pass(task, late + 10 * SECOND)
    task.refresh_from_db()
    return task


def end(run: ClaimedRun, result: HttpResult = OK) -> None:
    """Record what came of the request of a run that a worker has taken."""
    now = timezone.now()
    verdict = retry.judge(result, run, now=now)
    record_results([AttemptResult(run, result, verdict, now)])


def answer_to(run: ClaimedRun) -> Answer:
    task = Task.objects.select_related("owner").get(pk=run.task_id)
    return why(task.owner, task.pk, run.scheduled_for)


def cause_of(run: ClaimedRun) -> tuple[Verdict, Cause]:
    answer = answer_to(run)
    return answer.verdict, answer.cause.cause


def ask(task: Task, at: Any = None) -> tuple[Verdict, Cause]:
    answer = why(task.owner, task.pk, at)
    return answer.verdict, answer.cause.cause


def note_gap(
    kind: str, *, since: timedelta, until: timedelta | None, **more: Any
) -> None:
    now = timezone.now()
    HeartbeatGap.objects.create(
        kind=kind,
        began_at=now - since,
        ended_at=None if until is None else now - until,
        **more,
    )


def test_a_run_on_time_was_delivered(user: User) -> None:
    due_task(user, timedelta(seconds=0.05))
    [run] = take_due()
    end(run)

    answer = answer_to(run)

    assert (answer.verdict, answer.cause.cause) == (Verdict.DELIVERED, Cause.DELIVERED)
    assert answer.held_by == ()
    assert [each.status_code for each in answer.attempts] == [200]


def test_a_manual_run_is_of_its_user(user: User) -> None:
    task = make(user, Interval(timezone.now() + HOUR, HOUR))
    manual_runs.fire_task(task.pk, now=timezone.now())
    [run] = take_waiting()
    end(run)

    assert cause_of(run) == (Verdict.DELIVERED, Cause.MANUAL)
    assert answer_to(run).facts.planned is None


@pytest.mark.parametrize(
    ("result", "cause"),
    [
        (BROKEN, Cause.TARGET_ANSWERED),
        (HttpResult(None, "connection reset", 5), Cause.NO_ANSWER),
        (HttpResult(None, "could not resolve host", 5), Cause.NAME_UNKNOWN),
        (
            HttpResult(None, "target address is not allowed", 5),
            Cause.ADDRESS_FORBIDDEN,
        ),
        (HttpResult(None, "could not be built: x", 0), Cause.SERVICE_ERROR),
    ],
)
def test_a_failure_names_what_failed(
    user: User, result: HttpResult, cause: Cause
) -> None:
    due_task(user, SECOND)
    [run] = take_due()
    end(run, result)

    answer = answer_to(run)

    assert (answer.verdict, answer.cause.cause) == (Verdict.FAILED, cause)
    assert answer.cause.hint


def test_retries_end_and_a_redrive_is_evidence(user: User) -> None:
    due_task(user, SECOND, every=HOUR, retry=RETRIES)
    [run] = take_due()
    end(run, BROKEN)
    assert cause_of(run) == (Verdict.WAITING, Cause.RETRYING)
    [again] = take_waiting()
    end(again, BROKEN)
    assert cause_of(run) == (Verdict.FAILED, Cause.RETRIES_EXHAUSTED)

    redriven = redrive.redrive_run(user, run.run_id)
    [by_hand] = take_waiting()
    end(by_hand)

    texts = {each.text: each.id for each in answer_to(run).cause.evidence}
    assert texts["a redrive of it, succeeded"] == str(redriven.run_ids[0])


@pytest.mark.parametrize(
    ("result", "cause"),
    [
        (HttpResult(500, "", 5, no_retry=True), Cause.RETRY_REFUSED),
        (HttpResult(410, "", 5), Cause.TARGET_GONE),
        (HttpResult(404, "", 5), Cause.TARGET_ANSWERED),
    ],
)
def test_what_is_not_retried(user: User, result: HttpResult, cause: Cause) -> None:
    due_task(user, SECOND, retry=RETRIES)
    [run] = take_due()
    end(run, result)

    assert cause_of(run) == (Verdict.FAILED, cause)


def test_a_retry_makes_a_delivery_late(user: User) -> None:
    due_task(user, timedelta(), retry=RETRIES)
    [run] = take_due()
    end(run, BROKEN)
    [again] = take_waiting()
    end(again)

    answer = answer_to(run)

    assert (answer.verdict, answer.cause.cause) == (Verdict.DELIVERED, Cause.RETRYING)
    assert "attempt 1, HTTP 500" in answer.cause.words


def test_overlapping_runs_are_skipped_or_wait_in_line(user: User) -> None:
    task = due_task(user, SECOND, every=MINUTE, overlap=Overlap.QUEUE_ONE)
    [first] = take_due()
    let_pass(task, MINUTE)
    take_due()
    let_pass(task, MINUTE)
    take_due()

    last, waiting = Run.objects.filter(task=task).order_by("-scheduled_for")[:2]

    full = why(user, task.pk, last.scheduled_for)
    assert (full.verdict, full.cause.cause) == (Verdict.DID_NOT_FIRE, Cause.QUEUE_FULL)
    assert ask(task, waiting.scheduled_for) == (Verdict.WAITING, Cause.IN_LINE)
    texts = {each.text: each.id for each in full.cause.evidence}
    assert texts["the run before it"] == str(first.run_id)


def test_a_run_that_may_not_overlap_is_skipped(user: User) -> None:
    task = due_task(user, SECOND, every=MINUTE, overlap=Overlap.SKIP)
    [first] = take_due()
    let_pass(task, MINUTE)
    take_due()

    skipped = Run.objects.get(task=task, state=RunState.SKIPPED)

    assert ask(task, skipped.scheduled_for) == (Verdict.DID_NOT_FIRE, Cause.OVERLAPPED)
    assert ask(task) == (Verdict.WAITING, Cause.UNDER_WAY)
    assert first.task_id == task.pk


def test_a_run_that_waited_in_line_was_late(user: User) -> None:
    task = due_task(user, SECOND, every=MINUTE, overlap=Overlap.QUEUE_ONE)
    [first] = take_due()
    let_pass(task, MINUTE)
    take_due()
    end(first)
    run_rows.start_waiting_runs([task.pk])
    [second] = take_waiting()
    end(second)

    assert cause_of(second) == (Verdict.DELIVERED, Cause.IN_LINE)


@pytest.mark.parametrize(
    ("misfire", "cause"),
    [(Misfire.LATEST, Cause.NOT_NEWEST), (Misfire.SKIP, Cause.TOO_LATE)],
)
def test_a_missed_fire_time_names_the_policy_and_what_held_it(
    user: User, misfire: Misfire, cause: Cause
) -> None:
    task = due_task(user, 3 * MINUTE, every=MINUTE, misfire=misfire)
    note_gap("worker", since=4 * MINUTE, until=timedelta())
    first = task.next_fire_at
    take_due()

    answer = why(user, task.pk, first)

    assert (answer.verdict, answer.cause.cause) == (Verdict.DID_NOT_FIRE, cause)
    assert [each.cause for each in answer.held_by] == [Cause.NO_WORKER]


def test_many_missed_fire_times_share_one_run(user: User) -> None:
    task = due_task(user, 11_000 * SECOND, every=SECOND)
    first = task.next_fire_at
    assert first is not None
    take_due()

    answer = why(user, task.pk, first + 500 * SECOND)

    assert (answer.verdict, answer.cause.cause) == (
        Verdict.DID_NOT_FIRE,
        Cause.NOT_NEWEST,
    )
    assert any("stands for all" in each.text for each in answer.cause.evidence)


def test_a_task_that_ended_meanwhile_missed_its_fire_times(user: User) -> None:
    at = timezone.now() + 10 * SECOND
    task = make(user, Interval(at, MINUTE, at + 2 * MINUTE))
    let_pass(task, HOUR)
    task.refresh_from_db()
    take_due()

    assert ask(task, task.next_fire_at) == (
        Verdict.DID_NOT_FIRE,
        Cause.ENDED_MEANWHILE,
    )


def test_a_change_cuts_fire_times_off(user: User) -> None:
    task = due_task(user, 3 * MINUTE + SECOND, every=MINUTE)
    first = task.next_fire_at
    assert first is not None
    with audit.acting_as(Actor("bea", Via.API)):
        pausing.pause_tasks(user, [str(task.pk)], now=timezone.now())
    # They are due until a beat has settled them.
    assert ask(task, first)[0] == Verdict.WAITING
    schedule_changes.settle_open_changes()

    newest = why(user, task.pk, first + 3 * MINUTE)

    assert ask(task, first) == (Verdict.DID_NOT_FIRE, Cause.CUT_OFF)
    assert (newest.verdict, newest.cause.cause) == (
        Verdict.DID_NOT_FIRE,
        Cause.CUT_OFF,
    )
    assert any("task.pause by bea" in each.text for each in newest.cause.evidence)


def retrying_run(user: User) -> tuple[Task, ClaimedRun]:
    task = due_task(user, SECOND, every=HOUR, retry=Backoff(max_attempts=9))
    [run] = take_due()
    end(run, BROKEN)
    return task, run


def test_a_user_cancels_a_run(user: User) -> None:
    _, run = retrying_run(user)
    with audit.acting_as(Actor("bea", Via.API)):
        cancellation.cancel_run(user, run.run_id)

    assert cause_of(run) == (Verdict.DID_NOT_FIRE, Cause.CANCELLED_BY_USER)


def test_a_removal_ends_a_retry(user: User) -> None:
    task, run = retrying_run(user)
    removal.remove_task(user, str(task.pk), now=timezone.now())

    assert cause_of(run) == (Verdict.DID_NOT_FIRE, Cause.REMOVED)


def test_a_pause_ends_a_retry(user: User) -> None:
    task, run = retrying_run(user)
    with audit.acting_as(Actor("bea", Via.API)):
        pausing.pause_tasks(user, [str(task.pk)], now=timezone.now())

    answer = answer_to(run)

    assert (answer.verdict, answer.cause.cause) == (
        Verdict.DID_NOT_FIRE,
        Cause.PAUSED_BY_USER,
    )
    assert answer.cause.words == "bea had paused the task."


@pytest.mark.parametrize(
    ("column", "cause"),
    [("replaced_at", Cause.REPLACED), ("ends_at", Cause.END_MOVED)],
)
def test_a_change_ends_a_retry(user: User, column: str, cause: Cause) -> None:
    task, run = retrying_run(user)
    now = timezone.now()
    if column == "replaced_at":
        Task.objects.filter(pk=task.pk).update(replaced_at=now)
    else:
        periodic = task.periodic_task
        periodic.expires = run.scheduled_for - SECOND
        periodic.save()
    Run.objects.filter(pk=run.run_id).update(wake_at=now)
    take_waiting()

    assert cause_of(run) == (Verdict.DID_NOT_FIRE, cause)


def test_without_a_worker_a_fire_time_waits_and_is_late(user: User) -> None:
    task = due_task(user, MINUTE, every=HOUR)
    note_gap("worker", since=2 * MINUTE, until=None)
    waiting = why(user, task.pk, None)
    assert (waiting.verdict, waiting.cause.cause) == (Verdict.WAITING, Cause.NO_WORKER)
    assert waiting.cause.until is None
    HeartbeatGap.objects.update(ended_at=timezone.now())
    [run] = take_due()
    end(run)

    answer = answer_to(run)

    assert (answer.verdict, answer.cause.cause) == (Verdict.DELIVERED, Cause.NO_WORKER)
    assert [each.kind for each in answer.cause.evidence] == ["gap"]


def test_a_run_waited_while_its_tenant_was_frozen(user: User) -> None:
    task = due_task(user, MINUTE, every=HOUR)
    tenant = tenant_of(user)
    freezing.freeze(tenant, "elsewhere", uuid4())
    freezing.put_aside(tenant.pk, ignore, patience=0)
    waiting = why(user, task.pk, None)
    assert (waiting.verdict, waiting.cause.cause) == (
        Verdict.WAITING,
        Cause.TENANT_MOVES,
    )
    assert waiting.cause.until is None
    freezing.thaw(tenant)
    [run] = take_due()
    end(run)

    answer = answer_to(run)

    assert answer.verdict == Verdict.DELIVERED
    assert answer.cause.cause == Cause.TENANT_MOVES
    assert answer.cause.since is not None
    assert answer.cause.until is not None
    assert answer.cause.since < answer.cause.until
    assert [each.text.split()[0] for each in answer.cause.evidence] == [
        "tenant.freeze",
        "tenant.thaw",
    ]
    # What was on time afterwards has another cause.
    later = due_task(user, timedelta(seconds=0.05))
    [run] = take_due()
    end(run)
    assert later.pk == run.task_id
    assert cause_of(run) == (Verdict.DELIVERED, Cause.DELIVERED)


@pytest.mark.parametrize(
    ("gaps", "cause"),
    [
        # Both were silent, and one had lived before: it was PostgreSQL.
        ((("worker", {"is_survived": True}), ("beat", {})), Cause.DATABASE_AWAY),
        ((("worker", {}), ("beat", {"is_survived": True})), Cause.DATABASE_AWAY),
        # PostgreSQL was started meanwhile.
        ((("beat", {"is_restart": True}),), Cause.DATABASE_AWAY),
        # All died, or only the workers did, or could not reach it.
        ((("worker", {}), ("beat", {})), Cause.NO_WORKER),
        ((("worker", {"is_survived": True}),), Cause.NO_WORKER),
        # Workers take what is due without a beat and without Redis.
        ((("beat", {}),), Cause.WORKERS_BUSY),
        ((("broker", {}),), Cause.WORKERS_BUSY),
        ((), Cause.WORKERS_BUSY),
    ],
)
def test_gaps_say_what_was_away(
    user: User, gaps: tuple[tuple[str, dict[str, bool]], ...], cause: Cause
) -> None:
    due_task(user, 30 * SECOND)
    for kind, more in gaps:
        note_gap(kind, since=40 * SECOND, until=SECOND, **more)
    [run] = take_due()
    end(run)

    assert cause_of(run) == (Verdict.DELIVERED, cause)


def test_a_gap_of_another_time_explains_nothing(user: User) -> None:
    due_task(user, 30 * SECOND)
    note_gap("worker", since=HOUR, until=MINUTE)
    [run] = take_due()
    end(run)

    assert cause_of(run) == (Verdict.DELIVERED, Cause.WORKERS_BUSY)


def test_without_redis_a_run_is_a_second_late(user: User) -> None:
    due_task(user, SECOND)
    note_gap("broker", since=MINUTE, until=None)
    [run] = take_due()
    end(run)

    assert cause_of(run) == (Verdict.DELIVERED, Cause.BROKER_AWAY)


def test_a_task_that_was_stored_too_late_is_late(user: User) -> None:
    task = make(user, Once(timezone.now() - 10 * SECOND))
    [run] = take_due()
    end(run)

    assert run.task_id == task.pk
    assert cause_of(run) == (Verdict.DELIVERED, Cause.STORED_LATE)


def test_what_is_written_after_a_fire_time_did_not_store_that(user: User) -> None:
    make_calendar(user, "off")
    begin = timezone.now() + MINUTE
    task = task_on(user, Interval(begin, HOUR), CalendarChoice(exclude=("off",)))
    let_pass(task, MINUTE + 30 * SECOND)
    change_calendar(user, "off")
    settle_all()
    [run] = take_waiting()
    end(run)

    assert run.task_id == task.pk
    verdict, cause = cause_of(run)
    assert (verdict, cause) == (Verdict.DELIVERED, Cause.WORKERS_BUSY)


def test_a_one_time_task_is_sent_after_a_pause(user: User) -> None:
    task = due_task(user, -SECOND)
    pausing.pause_tasks(user, [str(task.pk)], now=timezone.now())
    let_pass(task, MINUTE)
    pausing.resume_tasks(user, [str(task.pk)], now=timezone.now())
    [run] = take_due()
    end(run)

    assert cause_of(run) == (Verdict.DELIVERED, Cause.PAUSED_BY_USER)


def test_a_lost_worker_is_named(user: User) -> None:
    task = due_task(user, timedelta(), every=HOUR)
    [run] = take_due()
    Run.objects.filter(pk=run.run_id).update(wake_at=timezone.now())
    rescue.rescue_runs()
    assert cause_of(run) == (Verdict.WAITING, Cause.WORKER_LOST)
    [again] = take_waiting()
    end(again)

    answer = answer_to(run)

    assert (answer.verdict, answer.cause.cause) == (
        Verdict.DELIVERED,
        Cause.WORKER_LOST,
    )
    assert answer.cause.evidence[0].kind == "attempt"
    assert run.task_id == task.pk


def test_a_run_that_loses_too_many_workers_is_given_up(user: User) -> None:
    due_task(user, timedelta(), every=HOUR)
    [run] = take_due()
    for _ in range(retry.MAX_LOST_ATTEMPTS):
        Run.objects.filter(pk=run.run_id).update(wake_at=timezone.now())
        rescue.rescue_runs()
        take_waiting()

    assert cause_of(run) == (Verdict.FAILED, Cause.LOST_TOO_OFTEN)


def test_long_work_waits_for_its_target(user: User) -> None:
    make_long_work(user)
    [run] = take_due()
    accept_run(run)

    assert cause_of(run) == (Verdict.WAITING, Cause.LONG_WORK)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        ("The target said that its work failed", Cause.WORK_FAILED),
        ("The work was not done by its deadline", Cause.WORK_OVERDUE),
    ],
)
def test_long_work_that_failed(user: User, error: str, cause: Cause) -> None:
    due_task(user, SECOND)
    [run] = take_due()
    end(run, HttpResult(None, error, 5))

    assert cause_of(run) == (Verdict.FAILED, cause)


@pytest.mark.parametrize(
    ("trouble", "error", "cause"),
    [
        (Trouble.SILENT_NAMES, "its name servers do not answer", Cause.NAMES_SILENT),
        (Trouble.CROWDED, "its host is slow, and others wait", Cause.HOST_BUSY),
    ],
)
def test_a_run_that_was_given_back_says_why_also_when_it_is_over(
    user: User, trouble: Trouble, error: str, cause: Cause
) -> None:
    due_task(user, 2 * SECOND)
    [run] = take_due()
    end(run, HttpResult(None, error, 0, was_sent=False, trouble=trouble))
    assert cause_of(run) == (Verdict.WAITING, cause)
    Run.objects.filter(pk=run.run_id).update(wake_at=timezone.now())
    [again] = take_waiting()
    assert Run.objects.get(pk=run.run_id).reason == f"Waited: {error}."
    end(again)

    answer = answer_to(run)

    assert (answer.verdict, answer.cause.cause) == (Verdict.DELIVERED, cause)
    assert Run.objects.get(pk=run.run_id).reason == f"Waited: {error}."


def test_a_run_that_waits_for_its_host_in_a_worker(user: User) -> None:
    due_task(user, 2 * SECOND)
    [run] = take_due()
    leases.mark_unsent([(run.run_id, run.lease)], is_unsent=True)

    assert cause_of(run) == (Verdict.WAITING, Cause.HOST_BUSY)


def test_a_run_that_its_worker_began_late(user: User) -> None:
    due_task(user, timedelta())
    [run] = take_due()
    later = timezone.now() + 5 * SECOND
    record_results([AttemptResult(run, OK, retry.Succeed(), later)])

    answer = answer_to(run)

    assert (answer.verdict, answer.cause.cause) == (
        Verdict.DELIVERED,
        Cause.HELD_IN_WORKER,
    )
    assert answer.cause.until == later
