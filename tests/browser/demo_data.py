"""Believable data for pictures of the pages: the same at each call, but for the dates.

Two tenants. Alpha has 300 tasks of every kind, two calendars of days, three days of runs with every outcome,
queues with messages, people, tokens and a channel; Beta has a few tasks.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.utils import timezone

from accounts import services as accounts
from accounts.models import Role, User
from tasks_api.domain.calendars import CalendarChoice, OnExcluded
from tasks_api.domain.ids import id_for
from tasks_api.domain.schedules import (
    Cron,
    Interval,
    Once,
    Schedule,
    fire_times_between,
)
from tasks_api.domain.specs import Surface, TaskSpec
from tasks_api.domain.states import RunState, Stage
from tasks_api.models import Run, Task
from tasks_api.services import (
    calendars,
    lanes,
    pausing,
    pull_queue,
    rollups,
    tasks,
)
from tasks_api.services.calendars import EMPTY_CONTENT, CalendarContent
from tasks_api.services.pausing import Hold
from tasks_api.services.pull_queue import NewMessage
from tasks_api.storage.stored_schedules import schedule_of
from tests.integration.support.lane_rows import run_in_lane

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
HISTORY = timedelta(days=3)
SUBJECTS = [
    ("invoices", "billing.example.com", ("billing",)),
    ("reminders", "mail.example.com", ("mail", "customers")),
    ("exports", "reports.example.com", ("reports",)),
    ("stock", "shop.example.com", ("shop",)),
    ("backups", "ops.example.net", ("ops",)),
    ("rates", "finance.example.com", ("billing", "finance")),
    ("search index", "shop.example.com", ("shop", "search")),
    ("certificates", "ops.example.net", ("ops", "security")),
]
ACTIONS = ["send", "refresh", "check", "clean up", "publish", "import", "reconcile"]
PLACES = ["Berlin", "Lisbon", "Toronto", "Osaka", "Nairobi", "Oslo"]
CRONS = [
    ("0 6 * * *", "Europe/Berlin"),
    ("30 7 * * 1-5", "Europe/Lisbon"),
    ("15 */4 * * *", "UTC"),
    ("0 9 1 * *", "America/Toronto"),
    ("45 23 * * 0", "Asia/Tokyo"),
    ("5 8-18 * * 1-5", "Europe/Oslo"),
]


class Failure(NamedTuple):
    """What the target of a failing task answers."""

    status: int | None
    reason: str
    answer: str


FAILURES = [
    Failure(500, "HTTP 500", '{"error": "no template for locale pt-BR"}'),
    Failure(500, "HTTP 500", '{"error": "connection pool exhausted"}'),
    Failure(503, "HTTP 503", "upstream connect error or disconnect before headers"),
    Failure(503, "HTTP 503", "upstream connect error or disconnect before headers"),
    Failure(None, "ConnectTimeout: no connection within 30 s", ""),
    Failure(404, "HTTP 404", "<h1>Not Found</h1>"),
]
# Failing tasks began to fail so long ago, all others fail now and then.
FAILING_SINCE = 9 * HOUR


@dataclass(frozen=True)
class Demo:
    """The people of the demonstration, and a task and a run to look at."""

    admin: User
    failing: Task
    failed_run: Run


def store(*, size: int = 300) -> Demo:
    """Store the data, with fewer tasks if a test needs no more."""
    chance = random.Random(11)
    ann = accounts.provision_user("Alpha", "ann")
    ann = accounts.change_user(ann, role=Role.ADMIN)
    assert ann.tenant is not None
    people = [ann, *(accounts.add_user(ann.tenant, name) for name in ("cleo", "femi"))]
    accounts.add_user(ann.tenant, "nora", role=Role.VIEWER)
    for name in ("deployment", "laptop"):
        accounts.issue_token(ann, name=name)
    now = timezone.now()
    _store_calendars(ann, now)
    stored = [_store_task(people, now, chance, number) for number in range(size)]
    failing = _store_history(stored, now, chance)
    pausing.pause_failing_tasks({failing[-1].pk: (12, "HTTP 404")})
    _store_messages(ann, now)
    _store_lanes(ann, now)
    _store_beta(now)
    rollups.keep_rollups(now=now, pause=lambda _: None)
    run = Run.objects.filter(task=failing[0], state=RunState.FAILED)
    return Demo(ann, failing[0], run.order_by("-scheduled_for")[0])


def _store_calendars(user: User, now: datetime) -> None:
    """Two calendars, and a task that leaves the days of one out and waits for the other."""
    holidays = {"holidays": {"country": "DE", "subdivision": "BE"}}
    weekend = {"weekdays": ["sat", "sun"]}
    window = {
        "from": (now + 9 * DAY).date().isoformat(),
        "to": (now + 12 * DAY).date().isoformat(),
    }
    for name, content in (
        ("de-holidays", holidays | weekend),
        ("year-end-freeze", {"ranges": [window]}),
    ):
        wanted = CalendarContent("Europe/Berlin", EMPTY_CONTENT | content)
        calendars.create_calendar(user, name, wanted, now=now)
    choice = CalendarChoice(
        exclude=("de-holidays",),
        on_excluded=OnExcluded.NEXT_BUSINESS_DAY,
        hold=("year-end-freeze",),
        pace="20/minute",
    )
    spec = TaskSpec(
        Surface.TASKS,
        "https://billing.example.com/hooks/payroll",
        Cron("0 9 * * *", "Europe/Berlin"),
        '{"dry_run": false}',
        name="payroll: send",
        tags=("billing",),
        calendars=choice,
    )
    tasks.create_task(user, spec, now=now)


def _store_task(
    people: list[User], now: datetime, chance: random.Random, number: int
) -> Task:
    subject, host, tags = SUBJECTS[number % len(SUBJECTS)]
    action = ACTIONS[number // len(SUBJECTS) % len(ACTIONS)]
    place = PLACES[number // (len(SUBJECTS) * len(ACTIONS)) % len(PLACES)]
    surfaces = [Surface.TASKS] * 8 + [Surface.CRON_JOBS, Surface.REST_JOBS]
    spec = TaskSpec(
        chance.choice(surfaces),
        f"https://{host}/hooks/{action.replace(' ', '-')}",
        _schedule(now, chance, number),
        f'{{"site": "{place}", "dry_run": false}}',
        name=f"{subject}: {action} {place}",
        tags=tags,
    )
    return tasks.create_task(chance.choice(people), spec, now=now)


def _schedule(now: datetime, chance: random.Random, number: int) -> Schedule:
    if number % 5 == 4:
        return Once(now + chance.uniform(0.2, 60) * HOUR)
    if number % 5 == 0:
        minutes = chance.choice([15, 30, 60, 360, 720])
        every = timedelta(minutes=minutes)
        return Interval(now - HISTORY - DAY + chance.random() * every, every)
    expression, zone = chance.choice(CRONS)
    return Cron(expression, zone, start=now - HISTORY - DAY)


def _store_history(
    stored: list[Task], now: datetime, chance: random.Random
) -> list[Task]:
    """Give each recurring task the runs of some days; return the tasks that fail."""
    begin = (now - HISTORY).replace(minute=0, second=0, microsecond=0)
    for task in stored:
        task.created_at = begin - DAY
        task.next_fire_at = schedule_of(task).first_from(now)
    Task.objects.bulk_update(stored, ["created_at", "next_fire_at"])
    recurring = [task for task in stored if not task.is_one_off]
    failing = recurring[4 : 4 + 4 * len(FAILURES) : 4]
    failures = dict(zip((task.pk for task in failing), FAILURES, strict=True))
    runs = [
        _run_of(task, at, _failure_at(at, failures.get(task.pk), now, chance), chance)
        for task in recurring
        for at in fire_times_between(schedule_of(task), begin, now)
    ]
    Run.objects.bulk_create(runs)
    return failing


def _failure_at(
    at: datetime, failure: Failure | None, now: datetime, chance: random.Random
) -> Failure | None:
    if failure is not None and at > now - FAILING_SINCE:
        return failure
    return FAILURES[2] if chance.random() < 0.01 else None


def _run_of(
    task: Task, at: datetime, failure: Failure | None, chance: random.Random
) -> Run:
    started_at = at + timedelta(milliseconds=chance.gammavariate(2, 9))
    took = int(chance.lognormvariate(4.7, 0.7))
    was_missed = chance.random() < 0.004
    state = RunState.FAILED if failure else RunState.SUCCEEDED
    run = Run(
        id=id_for(at, task.tenant_id),
        task=task,
        tenant=task.tenant,
        scheduled_for=at,
        state=RunState.MISSED if was_missed else state,
        reason=failure.reason if failure else "",
        finished_at=started_at + timedelta(milliseconds=took),
        stage=Stage.OVER,
    )
    if was_missed:
        run.reason = "No worker was there in time"
        return run
    run.attempt_count, run.started_at = 1, started_at
    run.first_started_at, run.first_duration_ms = started_at, took
    run.first_status_code = failure.status if failure else 200
    run.first_error = failure.reason if failure else ""
    run.first_answer = failure.answer if failure else '{"ok": true}'
    return run


def _store_messages(user: User, now: datetime) -> None:
    sizes = {"thumbnails": 42, "mailings": 7, "geocoding": 1}
    pull_queue.enqueue_many(
        [
            NewMessage(
                tenant_id=user.tenant_id or 0,
                queue=queue,
                name=f"{queue}-{number}",
                payload=f'{{"item": {number}}}',
                timeout_seconds=60,
                max_retries=3,
                run_at=now - number * timedelta(minutes=3),
            )
            for queue, size in sizes.items()
            for number in range(1, size + 1)
        ]
    )


def _store_lanes(user: User, now: datetime) -> None:
    """Lanes of three hosts: one is crowded, one is paused, and one has too low a rate."""
    hosts = {"billing": "billing.example.com", "mail": "mail.example.com"}
    for name, host in {**hosts, "shop": "shop.example.com"}.items():
        limits = {"rate_limit": 20, "rate_per": "minute", "concurrency": 5}
        limits |= {"breaker_after": 10} if name == "shop" else {}
        lanes.create_lane(user, {"name": name, "host": host, **limits})
    lanes.change_lane(user, "shop", {"rate_limit": 6, "rate_per": "hour"})
    hold = Hold("The provider moves to another data centre", now + 5 * HOUR)
    lanes.pause_lane(user, "mail", hold, now=now)
    waiting = Task.objects.filter(lane__name="mail", is_one_off=False).order_by("pk")
    for number, task in enumerate(waiting[:7]):
        run_in_lane(task, ago=3 + 4 * number)


def _store_beta(now: datetime) -> None:
    bob = accounts.provision_user("Beta", "bob")
    for number in range(3):
        url, schedule = f"https://beta.example.org/{number}", Cron("0 3 * * *")
        spec = TaskSpec(Surface.TASKS, url, schedule, "{}", name=f"nightly {number}")
        tasks.create_task(bob, spec, now=now)
