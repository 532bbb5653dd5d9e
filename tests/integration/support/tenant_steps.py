"""What users, workers and beats do to a tenant, so that each of its tables has rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import uuid4

from django.utils import timezone
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.models import Role, Tenant, User
from scheduler_service.db import clock
from tasks_api.delivery.request import ClaimedRun, HttpResult
from tasks_api.delivery.retry import GiveUp, KeepOpen, RetryAfter, Succeed, Verdict
from tasks_api.domain.calendars import CalendarChoice
from tasks_api.domain.schedules import Interval, Once
from tasks_api.models import LaneCeiling, Run, Task
from tasks_api.scheduler import overdue, rescue
from tasks_api.scheduler.edits import EditFollower
from tasks_api.services import notice_sending, owners, rollups
from tasks_api.storage import day_counts
from tasks_api.worker import long_work, verdicts
from tasks_api.worker.record import AttemptResult
from tests.conftest import ClientFor, MakeTask, tenant_of
from tests.integration.support.calendars import (
    change_calendar,
    make_calendar,
    task_on,
)
from tests.integration.support.long_work import make_long_work
from tests.integration.support.notices import make_channel, make_rule
from tests.integration.support.old_rows import waiting_run
from tests.integration.support.pull_messages import expire_leases
from tests.integration.support.reconciliation_model import let_pass, settle_all
from tests.integration.support.stored_runs import hourly_task, store_run
from tests.integration.support.stored_tasks import take_due, take_waiting
from tests.integration.support.tasks_surface import ONE_TIME, PERIODIC

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


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


def catch_up(side: Side) -> None:
    task = hourly_task(side.owner)
    side.send("post", f"/tasks/{task.pk}/pause")
    let_pass(task, timedelta(hours=3))
    side.send("post", f"/tasks/{task.pk}/resume", {"catch_up": "all"})
    settle_all()


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


def follow_calendar(side: Side) -> None:
    name = uuid4().hex
    make_calendar(side.owner, name)
    soon = Interval(timezone.now() + HOUR, HOUR)
    task_on(side.owner, soon, CalendarChoice(exclude=(name,)))
    change_calendar(side.owner, name, weekdays=["sun"])


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


def act_within_bounds(side: Side) -> None:
    token = side.send("post", "/tokens/", {"bounds": {"runs_per_day": 100}})
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {token['token']}")
    narrow = side._replace(api=api)
    made = narrow.send("post", "/tasks/", ONE_TIME)
    narrow.send("post", f"/tasks/{made['id']}/run/")
    record(take_waiting(), Succeed())
    day_counts.add_runs({side.tenant.pk: 1})


# Hours close only if nothing waits in them, and are counted when they close.
FIRST_STEPS: tuple[Step, ...] = (run_long_ago, close_hours)
STEPS: tuple[Step, ...] = (
    create,
    fire,
    retry,
    lose_worker,
    work_long,
    pause,
    catch_up,
    change,
    edit_in_admin,
    remove,
    transfer,
    be_told,
    follow_calendar,
    tell,
    pull,
    send_again,
    let_wait,
    use_lane,
    close_hours,
    let_in,
    act_within_bounds,
)


def make_sides(
    user: User,
    colleague: User,
    stranger: User,
    client_for: ClientFor,
    make_task: MakeTask,
) -> list[Side]:
    """Two tenants, each with an administrator and a colleague."""
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
