"""Whatever is done, each row belongs to the tenant of its task, its run and its user."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from django.conf import LazySettings
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.models import Role, Tenant, User
from scheduler_service.db import clock
from tasks_api.delivery.request import ClaimedRun, HttpResult
from tasks_api.delivery.retry import GiveUp, KeepOpen, RetryAfter, Succeed, Verdict
from tasks_api.domain.schedules import Interval, Once
from tasks_api.models import FurtherAttempt, LaneCeiling, Run, Task
from tasks_api.scheduler import overdue, rescue
from tasks_api.scheduler.edits import EditFollower
from tasks_api.services import notice_sending, owners, rollups
from tasks_api.worker import long_work, verdicts
from tasks_api.worker.record import AttemptResult
from tests.conftest import ClientFor, MakeTask, tenant_of
from tests.integration.support.long_work import make_long_work
from tests.integration.support.notices import make_channel, make_rule
from tests.integration.support.old_rows import waiting_run
from tests.integration.support.pull_messages import expire_leases
from tests.integration.support.stored_runs import hourly_task, store_run
from tests.integration.support.stored_tasks import take_due, take_waiting
from tests.integration.support.tasks_surface import ONE_TIME, PERIODIC
from tests.integration.support.tenant_rows import (
    TABLES,
    count_rows,
    find_strays,
)

pytestmark = pytest.mark.django_db(transaction=True)

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
# As processes of the release before insert rows, without the tenant.
INSERTS_OF_RELEASE_BEFORE = (
    "INSERT INTO tasks_api_tasktag (owner_id, task_id, tag)"
    " SELECT owner_id, id, 'old' FROM tasks_api_task WHERE id = %(task)s",
    "INSERT INTO tasks_api_tasktally AS tally (owner_id, surface, part, tasks)"
    " SELECT owner_id, surface, 0, 1 FROM tasks_api_task WHERE id = %(task)s"
    " ON CONFLICT (owner_id, surface, part)"
    " DO UPDATE SET tasks = tally.tasks + excluded.tasks",
    "INSERT INTO tasks_api_failingtask (task_id, streak, ended_streak)"
    " VALUES (%(task)s, 1, 0) ON CONFLICT DO NOTHING",
    "INSERT INTO tasks_api_schedulechange (task_id, at, what, cron_seconds, cron_years)"
    " VALUES (%(task)s, now(), 'edited', '', '')",
    "INSERT INTO tasks_api_idempotencykey"
    " (user_id, key, fingerprint, status, headers, body, created_at)"
    " SELECT owner_id, gen_random_uuid(), '', 200, '{}', '', now()"
    " FROM tasks_api_task WHERE id = %(task)s",
    "INSERT INTO tasks_api_attempt (run_id, number, started_at, duration_ms, error, answer)"
    " SELECT id, 2, now(), 1, '', '' FROM tasks_api_run WHERE task_id = %(task)s",
    "INSERT INTO accounts_token (user_id, name, digest, prefix, scope)"
    " SELECT owner_id, '', gen_random_uuid(), '', 'read'"
    " FROM tasks_api_task WHERE id = %(task)s",
)

INSERT_ATTEMPT_OF_NO_RUN = """
    INSERT INTO tasks_api_attempt (run_id, number, started_at, duration_ms, error, answer)
    VALUES (gen_random_uuid(), 2, now(), 1, '', '')
"""
# A trigger of these tables writes the tenant into rows of the release before.
TABLES_WITH_TRIGGER = (
    "accounts_token",
    "tasks_api_attempt",
    "tasks_api_failingtask",
    "tasks_api_idempotencykey",
    "tasks_api_schedulechange",
    "tasks_api_tasktag",
    "tasks_api_tasktally",
)


class Side(NamedTuple):
    """A tenant at work: an administrator, a colleague, and the administrator's client."""

    owner: User
    colleague: User
    api: APIClient
    make_task: MakeTask

    @property
    def tenant(self) -> Tenant:
        return tenant_of(self.owner)

    def send(self, method: str, path: str, body: object = None, **extra: str) -> Any:
        answer = getattr(self.api, method)(path, body, format="json", **extra)
        assert answer.status_code < 300, (path, answer.content)
        return answer.json() if answer.content else None

    def random_task(self) -> Task | None:
        living = Task.objects.filter(owner=self.owner, ended_at=None, surface="tasks")
        return living.order_by("?").first()


Step = Callable[[Side], None]


def record(runs: list[ClaimedRun], verdict: Verdict) -> None:
    verdicts.write_results(
        [
            AttemptResult(run, HttpResult(500, "", 1), verdict, timezone.now())
            for run in runs
        ]
    )


def create(side: Side) -> None:
    for body in (ONE_TIME, PERIODIC):
        tagged = {**body, "tags": ["a", "b"]}
        side.send("post", "/tasks/", tagged, HTTP_IDEMPOTENCY_KEY=str(uuid4()))
    side.send("post", "/tasks/bulk/", {"tasks": [ONE_TIME] * 3})


def fire(side: Side) -> None:
    past = timezone.now() - SECOND
    for schedule in (Once(past), Interval(past, HOUR), Interval(past - 2 * HOUR, HOUR)):
        side.make_task(side.owner, schedule=schedule, tags=("fired",))
    runs = take_due()
    record(runs[::2], Succeed())
    record(runs[1::2], GiveUp("HTTP 500"))


def retry(side: Side) -> None:
    side.make_task(side.owner, schedule=Interval(timezone.now() - SECOND, HOUR))
    record(take_due(), RetryAfter("HTTP 500", 0))
    record(take_waiting(), RetryAfter("HTTP 500", 0))
    record(take_waiting(), GiveUp("HTTP 500"))


def lose_worker(side: Side) -> None:
    side.make_task(side.owner, schedule=Interval(timezone.now() - SECOND, HOUR))
    record(take_due(), RetryAfter("HTTP 500", 0))
    lost = [run.run_id for run in take_waiting()]
    Run.objects.filter(pk__in=lost).update(wake_at=timezone.now() - SECOND)
    rescue.rescue_runs()


def work_long(side: Side) -> None:
    make_long_work(side.owner)
    record(take_due(), RetryAfter("HTTP 500", 0))
    opened = take_waiting()
    record(opened, KeepOpen(60))
    late = Run.objects.filter(pk__in=[run.run_id for run in opened])
    late.update(wake_at=timezone.now() - SECOND)
    long_work.expire(limit=10)


def pause(side: Side) -> None:
    task = hourly_task(side.owner)
    side.send("post", f"/tasks/{task.pk}/pause")
    side.send("post", f"/tasks/{task.pk}/resume")


def change(side: Side) -> None:
    task = hourly_task(side.owner)
    side.send("patch", f"/tasks/{task.pk}/", {"tags": ["c"], "frequency": 7200})
    for frequency in (3600, 7200):
        wanted = [{**PERIODIC, "name": "n", "frequency": frequency}]
        side.send("post", "/tasks/apply/", {"tag": "web", "tasks": wanted})


def edit_in_admin(side: Side) -> None:
    if task := side.random_task():
        task.periodic_task.enabled = False
        task.periodic_task.save()
        EditFollower().follow(timezone.now())


def remove(side: Side) -> None:
    if task := side.random_task():
        side.send("delete", f"/tasks/{task.pk}/")


def transfer(side: Side) -> None:
    owners.transfer_tasks(side.owner, side.colleague, batch_size=2)
    owners.transfer_tasks(side.colleague, side.owner)


def be_told(side: Side) -> None:
    make_rule(side.owner, make_channel(side.owner), "run.failed", "task.failing")
    side.make_task(side.owner, schedule=Interval(timezone.now() - SECOND, HOUR))
    record(take_due(), GiveUp("HTTP 500"))


def tell(side: Side) -> None:
    while notice_sending.send_due(now=timezone.now() + SECOND):
        pass
    be_told(side)


def pull(side: Side) -> None:
    job = {"queue": "q", "timeout": 1, "max_retries": 0}
    side.send("post", "/enqueue", {**job, "id": str(uuid4())})
    side.send("get", "/next?queue=q")
    expire_leases(tenant=side.tenant)
    side.send("get", "/next?queue=q")
    side.send("post", "/enqueue", {**job, "id": str(uuid4())})


def send_again(side: Side) -> None:
    failed = store_run(hourly_task(side.owner))
    side.send("post", f"/runs/{failed.pk}/redrive/")
    side.send("post", f"/tasks/{failed.task_id}/run/")
    record(take_waiting(), Succeed())


def use_lane(side: Side) -> None:
    name = f"lane-{uuid4().hex}"
    side.send("post", "/lanes/", {"name": name, "rate": {"limit": 1}})
    LaneCeiling.objects.get_or_create(tenant=side.tenant)
    side.send("post", "/tasks/bulk/", {"tasks": [{**ONE_TIME, "lane": name}] * 3})
    Task.objects.filter(lane_name=name).update(next_fire_at=timezone.now())
    record(take_due(), GiveUp("HTTP 500"))


def let_wait(side: Side) -> None:
    side.make_task(side.owner, schedule=Interval(timezone.now() - 2 * HOUR, HOUR))
    overdue.let_wait()


def run_long_ago(side: Side) -> None:
    store_run(hourly_task(side.owner), ago=200)
    waiting_run(hourly_task(side.owner), ago=2 * HOUR)


def close_hours(side: Side) -> None:
    rollups.keep_rollups(now=timezone.now())


def let_in(side: Side) -> None:
    token = side.send("post", "/tokens/", {"name": "x"})
    side.send("post", f"/tokens/{token['id']}/rotate/")
    accounts.rotate_signing_secret(side.tenant, now=clock.now())
    accounts.invite_user(side.colleague, now=clock.now(), by=side.owner.username)


def insert_as_the_release_before(side: Side) -> None:
    task = hourly_task(side.owner)
    store_run(task)
    with connection.cursor() as cursor:
        for statement in INSERTS_OF_RELEASE_BEFORE:
            cursor.execute(statement, {"task": task.pk})


# Hours close only if nothing waits in them, and are counted when they close.
FIRST_STEPS: tuple[Step, ...] = (run_long_ago, close_hours)
STEPS: tuple[Step, ...] = (
    create,
    fire,
    retry,
    lose_worker,
    work_long,
    pause,
    change,
    edit_in_admin,
    remove,
    transfer,
    be_told,
    tell,
    pull,
    send_again,
    let_wait,
    use_lane,
    close_hours,
    let_in,
)


@pytest.fixture
def sides(
    user: User,
    colleague: User,
    stranger: User,
    client_for: ClientFor,
    make_task: MakeTask,
    settings: LazySettings,
) -> list[Side]:
    settings.SCHEDULER_MIN_FREQUENCY = 1
    settings.SCHEDULER_RETENTION_DAYS = 1
    beta = tenant_of(stranger)
    pairs = [(user, colleague), (stranger, accounts.add_user(beta, "bea"))]
    return [
        Side(
            accounts.change_user(owner, role=Role.ADMIN),
            other,
            client_for(owner),
            make_task,
        )
        for owner, other in pairs
    ]


@pytest.fixture
def no_trigger() -> Iterator[None]:
    """Each statement must write the tenant itself."""
    with connection.cursor() as cursor:
        for table in TABLES_WITH_TRIGGER:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER fill_tenant")
        yield
        for table in TABLES_WITH_TRIGGER:
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER fill_tenant")


@pytest.mark.usefixtures("no_trigger")
@pytest.mark.parametrize("seed", range(3))
def test_each_row_is_of_the_tenant_of_what_it_belongs_to(
    sides: list[Side], seed: int
) -> None:
    acts = [(step, side) for step in STEPS for side in sides]
    random.Random(seed).shuffle(acts)
    acts = [(step, side) for step in FIRST_STEPS for side in sides] + acts
    seen: Counter[tuple[int, str]] = Counter()
    for step, side in acts:
        step(side)
        assert find_strays() == {}, step
        seen += count_rows()

    expected = {(side.tenant.pk, table) for side in sides for table in TABLES}
    assert expected - seen.keys() == set()


def test_rows_of_the_release_before_get_their_tenants(sides: list[Side]) -> None:
    for side in sides:
        insert_as_the_release_before(side)
    rows = count_rows()

    assert find_strays() == {}
    for table in TABLES_WITH_TRIGGER:
        assert [rows[side.tenant.pk, table] > 0 for side in sides] == [True, True]


def test_a_row_without_a_parent_is_not_stored(sides: list[Side]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(INSERT_ATTEMPT_OF_NO_RUN)

    assert not FurtherAttempt.objects.exists()


def test_of_an_erased_tenant_no_table_has_a_row(sides: list[Side]) -> None:
    for step in FIRST_STEPS + STEPS:
        for side in sides:
            step(side)
    gone, left = (side.tenant.pk for side in sides)
    before = count_rows()

    call_command("delete_tenant", sides[0].tenant.name, "--yes")

    after = count_rows()
    assert {table for tenant, table in after if tenant == gone} == set()
    for table in TABLES:
        assert after[left, table] == before[left, table], table
