"""What a client asks to be computed has an end: in a request, a beat and a worker."""

from __future__ import annotations

from datetime import timedelta

import pytest
from celery import current_app
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.models import User
from scheduler_service.db import clock
from tasks_api.api import errors
from tasks_api.domain import cron
from tasks_api.domain.schedules import Cron
from tasks_api.domain.states import RunState
from tasks_api.models import Run, Task
from tasks_api.scheduler.beat import TenantScheduler
from tasks_api.services import removal
from tasks_api.storage import schedule_changes
from tasks_api.taking import due_tasks, leases
from tasks_api.taking.room import Room
from tasks_api.worker import workload
from tasks_api.worker.engine import Engine
from tests.integration.conftest import ResultLog
from tests.integration.support.stored_tasks import (
    SECOND,
    TARGET,
    run_states,
    store_task,
)
from tests.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)

URL = "http://93.184.216.34/x"


@pytest.fixture
def low_step_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "MAX_SCHEDULE_STEPS", 1_000)
    cron.first_from.cache_clear()


def task(number: int, **more: object) -> dict[str, object]:
    cron = f"{number} * 0 29 2 * 2028-2100"
    return {"task_type": "periodic", "cron": cron, "timezone": "Europe/Berlin", "url": URL, "name": str(number), **more}  # fmt: skip


def test_a_bulk_of_many_costly_expressions_is_refused_by_field(
    api: APIClient, low_step_limit: None
) -> None:
    answer = api.post("/tasks/bulk/", [task(n) for n in range(60)], format="json")

    assert answer.status_code == 400
    refused = answer.json()["error"]["tasks"]
    assert {each["field"] for each in refused} == {"cron"}
    assert "too long to compute" in refused[-1]["message"]
    assert Task.objects.count() == 0


def test_a_bulk_of_many_costly_rules_is_refused_by_field(
    api: APIClient, low_step_limit: None
) -> None:
    rule = "DTSTART:20200101T00{:02}00Z\nRRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=29"
    rules = [rule.format(number) for number in range(60)]
    tasks = [task(n, cron=None, timezone=None, rrule=rules[n]) for n in range(60)]

    answer = api.post("/tasks/bulk/", tasks, format="json")

    assert answer.status_code == 400
    refused = answer.json()["error"]["tasks"]
    assert {each["field"] for each in refused} == {"rrule"}
    assert "too long to compute" in refused[-1]["message"]
    assert Task.objects.count() == 0


def test_an_apply_of_many_costly_expressions_is_refused_by_field(
    api: APIClient, low_step_limit: None
) -> None:
    body = {"tag": "all", "tasks": [task(n) for n in range(60)]}

    answer = api.post("/tasks/apply/", body, format="json")

    assert answer.status_code == 400
    assert {each["field"] for each in answer.json()["error"]["tasks"]} == {"cron"}


def test_a_preview_of_too_much_is_refused(api: APIClient, low_step_limit: None) -> None:
    body = {"task_type": "periodic", "cron": "0 9 * * *", "timezone": "Europe/Berlin", "url": URL, "n": 1000}  # fmt: skip

    answer = api.post("/tasks/preview/", body, format="json")

    assert answer.status_code == 400
    assert "too long to compute" in answer.json()["error"]["message"]


@pytest.mark.parametrize("expression", ["0 * 0 29 2 * 9996", "* */59 2-5/10 19 * */7 9996-9999"])  # fmt: skip
def test_an_expression_of_years_far_away_never_fires(
    api: APIClient, expression: str
) -> None:
    body = {**task(1), "cron": expression}

    answer = api.post("/tasks/", body, format="json")

    assert answer.status_code == 400
    assert "never fires again" in answer.json()["error"]["message"]


def overdue_crons(owner: User, count: int, url: str = TARGET) -> list[Task]:
    tasks = [
        store_task(owner, Cron(f"{n} 0 1 1 *", "Europe/Berlin"), url)
        for n in range(count)
    ]
    ids = [task.pk for task in tasks]
    Task.objects.filter(pk__in=ids).update(next_fire_at=clock.now() - SECOND)
    return tasks


def test_a_tenant_whose_tasks_take_long_holds_up_no_other(
    user: User, stranger: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due_tasks, "MAX_COMPUTE_SECONDS", 1e-9)
    slow = overdue_crons(user, 5)
    other = overdue_crons(stranger, 1)

    lease = leases.new_lease(leases.NO_PRESENCE)
    turns = [due_tasks.take_due(Room(), lease) for _ in range(5)]

    assert [len(turn.runs) for turn in turns] == [2, 1, 1, 1, 1]
    assert other[0].pk in {run.task_id for run in turns[0].runs}
    assert [turn.unfinished for turn in turns] == [4, 3, 2, 1, 0]
    assert all(run_states(each) == [RunState.RUNNING] for each in slow)


def test_a_worker_goes_on_at_once_where_its_time_was_over(
    user: User,
    receiver: Receiver,
    recorded: ResultLog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(due_tasks, "MAX_COMPUTE_SECONDS", 1e-9)
    # Without this, a worker would look again only after a minute.
    monkeypatch.setattr(workload, "LOOK_INTERVAL", 60.0)
    receiver.answer("/slow", delay=20)
    slow = overdue_crons(user, 5, url=receiver.url + "/slow")
    engine = Engine(on_recorded=recorded, on_beat=lambda _: None)
    engine.start()

    try:
        # None of the answers is here yet, which would make the worker look as well.
        receiver.wait_for(5)
    finally:
        engine.stop(grace=0)

    assert Run.objects.filter(task__in=slow).count() == 5


def test_settling_goes_on_where_its_time_was_over(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule_changes, "TIME_TO_COMPUTE", 0.0)
    made = store_task(user, Cron("* * * * *", seconds="*"))
    Task.objects.filter(pk=made.pk).update(next_fire_at=clock.now() - 20 * SECOND)
    removal.remove_task(user, str(made.pk), now=timezone.now())

    for _ in range(60):
        if not schedule_changes.settle_open_changes():
            break

    assert Run.objects.filter(task=made, state=RunState.MISSED).count() >= 18
    assert Run.objects.filter(task=made, state=RunState.CANCELLED).count() == 1


def test_a_crontab_that_takes_too_long_pauses_its_task(user: User) -> None:
    made = store_task(user, Cron("0 0 * * *"))
    row = PeriodicTask.objects.get(pk=made.periodic_task_id)
    row.crontab = CrontabSchedule.objects.create(
        minute="0", hour="0", day_of_month="*/31", day_of_week="5L"
    )
    row.save()

    TenantScheduler(app=current_app).tick()

    made.refresh_from_db()
    assert "too long to compute" in made.pause_reason
    assert made.next_fire_at is None


def test_many_usual_expressions_are_no_trouble(api: APIClient) -> None:
    cron.first_from.cache_clear()
    start = timezone.now() + timedelta(days=1)
    tasks = [
        task(n, cron=f"{n % 60} {n // 60} 1 {n % 12 + 1} *", start_datetime=start)
        for n in range(1_000)
    ]

    assert api.post("/tasks/bulk/", tasks, format="json").status_code == 201


def test_a_set_of_many_costly_crons_is_refused_by_entry(low_step_limit: None) -> None:
    accounts.configure_tenant("Alpha", callback_url=URL, shared_secret="s" * 32)
    timers = APIClient(raise_request_exception=False)
    timers.credentials(HTTP_SCHEDULER_SECRET="s" * 32)
    jobs = [
        {"id": str(n), "spec": f"CRON_TZ=Europe/Berlin {n} * 0 29 2 * 2028-2100"}
        for n in range(60)
    ]

    answer = timers.post("/cron", {"jobs": jobs}, format="json")

    assert answer.status_code == 400
    assert "Invalid value of jobs[" in answer.content.decode()
    assert "too long to compute" in answer.content.decode()
    assert Task.objects.count() == 0
