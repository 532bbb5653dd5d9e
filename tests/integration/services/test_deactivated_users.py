"""The tasks of a deactivated user wait, for the user or for another one to have them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import PeriodicTask, PeriodicTasks

from accounts import services as accounts
from accounts.models import AuditEntry, Role, User
from tasks_api.domain.exceptions import InvalidState
from tasks_api.domain.schedules import Interval, Once
from tasks_api.domain.specs import Surface
from tasks_api.domain.states import RunState
from tasks_api.models import Run, Task
from tasks_api.services import admin_edits, owners, pausing, removal
from tasks_api.storage import schedule_edits, task_counts
from tests.conftest import ClientFor, MakeTask
from tests.integration.support.stored_tasks import give_back, take_due, take_waiting
from tests.integration.support.tasks_surface import ONE_TIME

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)


def run_command(*command: str) -> str:
    out = StringIO()
    call_command(*command, stdout=out)
    return out.getvalue()


def hourly_since(ago: timedelta = timedelta(minutes=30)) -> Interval:
    return Interval(timezone.now() - ago, HOUR)


def is_active(task: Task) -> bool:
    task.refresh_from_db()
    task.periodic_task.refresh_from_db()
    assert task.periodic_task.enabled == (not task.is_paused)
    return task.periodic_task.enabled and task.next_fire_at is not None


DOORS: dict[str, Callable[[User, Any], object]] = {
    "command": lambda user, _: run_command("deactivate_user", user.name),
    "core": lambda user, _: accounts.change_user(user, is_active=False),
    "api": lambda user, boss: boss.patch(
        f"/users/{user.name}", {"is_active": False}, format="json"
    ),
}


@pytest.mark.parametrize("door", list(DOORS))
@pytest.mark.parametrize("surface", [s for s in Surface if s != Surface.NOTICES])
def test_the_tasks_of_a_deactivated_user_wait_and_go_on(
    user: User,
    colleague: User,
    client_for: ClientFor,
    make_task: MakeTask,
    door: str,
    surface: Surface,
) -> None:
    boss = client_for(accounts.change_user(colleague, role=Role.ADMIN))
    task = make_task(surface=surface, name="a", schedule=hourly_since())
    others = make_task(colleague, surface=surface, name="b", schedule=hourly_since())

    DOORS[door](user, boss)
    assert not is_active(task)
    assert is_active(others)
    run_command("activate_user", "ann")

    assert is_active(task)
    assert task.pause_reason == ""


def test_staff_deactivate_in_the_admin_too(
    client: Client, user: User, make_task: MakeTask
) -> None:
    client.force_login(User.objects.create_superuser("root", password="x"))
    task = make_task(schedule=hourly_since())
    form = {
        "role": "member",
        "date_joined_0": "2026-11-21",
        "date_joined_1": "10:00:00",
    }
    page = reverse("admin:accounts_user_change", args=[user.pk])

    client.post(page, form)
    assert not is_active(task)
    client.post(page, {**form, "is_active": "on"})
    assert is_active(task)
    for action, goes in (("deactivate", False), ("activate", True)):
        client.post(
            reverse("admin:accounts_user_changelist"),
            {"action": action, "_selected_action": [user.pk]},
        )
        assert is_active(task) is goes


def test_what_the_user_has_paused_stays_paused(user: User, make_task: MakeTask) -> None:
    paused, going = (
        make_task(schedule=hourly_since()),
        make_task(schedule=hourly_since()),
    )
    pausing.pause_tasks(user, [str(paused.pk)], now=timezone.now())

    run_command("deactivate_user", "ann")
    run_command("activate_user", "ann")

    assert not is_active(paused)
    assert is_active(going)


def test_a_run_that_waits_delivers_nothing(user: User, make_task: MakeTask) -> None:
    now = timezone.now()
    recurring = make_task(schedule=Interval(now, HOUR))
    one_off = make_task(schedule=Once(now))
    assert len(give_back(take_due())) == 2

    run_command("deactivate_user", "ann")

    assert take_waiting() == []
    assert Run.objects.get(task=recurring).state == RunState.CANCELLED
    assert Run.objects.get(task=one_off).state == RunState.PENDING
    run_command("activate_user", "ann")
    assert [taken.task_id for taken in take_waiting()] == [one_off.pk]


def test_a_request_under_way_finishes(user: User, make_task: MakeTask) -> None:
    make_task(schedule=Interval(timezone.now(), HOUR))
    take_due()

    run_command("deactivate_user", "ann")

    assert Run.objects.get().state == RunState.RUNNING


def test_a_one_off_that_passed_meanwhile_runs_once_and_promptly(
    user: User, make_task: MakeTask
) -> None:
    task = make_task(schedule=Once(timezone.now() - HOUR))
    run_command("deactivate_user", "ann")
    assert take_due() == []

    run_command("activate_user", "ann")

    assert [taken.task_id for taken in take_due()] == [task.pk]
    assert take_due() == []


def test_a_task_made_by_a_request_under_way_is_not_sent_either(
    user: User, make_task: MakeTask
) -> None:
    """One that had been let in before, and stores its task after."""
    run_command("deactivate_user", "ann")
    task = make_task(schedule=Interval(timezone.now(), HOUR))
    notice = make_task(schedule=Once(timezone.now()), surface=Surface.NOTICES)

    assert [taken.task_id for taken in take_due()] == [notice.pk]

    assert not is_active(task)
    assert Run.objects.get(task=task).state == RunState.CANCELLED
    run_command("activate_user", "ann")
    assert is_active(task)


def test_a_task_of_a_deactivated_user_cannot_be_resumed(
    user: User, colleague: User, client_for: ClientFor, make_task: MakeTask
) -> None:
    task = make_task(schedule=hourly_since())
    boss = client_for(accounts.change_user(colleague, role=Role.ADMIN))
    run_command("deactivate_user", "ann")

    answer = boss.post(f"/tasks/{task.pk}/resume")
    with pytest.raises(InvalidState):
        pausing.resume_tasks(
            User.objects.get(pk=user.pk), [str(task.pk)], now=timezone.now()
        )

    assert answer.status_code == 409
    assert "deactivated" in answer.json()["error"]["message"]
    assert not is_active(task)


def test_a_pause_meanwhile_outlasts_the_users_return(
    user: User, colleague: User, client_for: ClientFor, make_task: MakeTask
) -> None:
    task = make_task(schedule=hourly_since())
    boss = client_for(accounts.change_user(colleague, role=Role.ADMIN))
    run_command("deactivate_user", "ann")

    assert boss.post(f"/tasks/{task.pk}/pause").status_code == 200
    run_command("activate_user", "ann")

    assert not is_active(task)


def test_who_enables_it_in_the_admin_has_it_wait_for_its_user(
    user: User, make_task: MakeTask
) -> None:
    task = make_task(schedule=hourly_since())
    pausing.pause_tasks(user, [str(task.pk)], now=timezone.now())
    run_command("deactivate_user", "ann")

    PeriodicTask.objects.filter(pk=task.periodic_task_id).update(enabled=True)
    PeriodicTasks.update_changed()
    admin_edits.sync_admin_edits(schedule_edits.find_edited_task_ids(limit=10))

    assert not is_active(task)
    assert take_due() == []
    run_command("activate_user", "ann")
    assert is_active(task)


def test_a_job_put_anew_by_another_one_waits_as_well(
    user: User, colleague: User, client_for: ClientFor, make_task: MakeTask
) -> None:
    task = make_task(surface=Surface.CRON_JOBS, name="job", schedule=hourly_since())
    boss = client_for(accounts.change_user(colleague, role=Role.ADMIN))
    run_command("deactivate_user", "ann")
    job = {"id": "job", "endpoint": "http://e.org/", "cron": "@daily", "payload": {}}

    assert boss.post("/", job, format="json").status_code == 202

    assert not is_active(task)
    run_command("activate_user", "ann")
    assert is_active(task)


def test_a_schedule_changed_meanwhile_counts_from_the_users_return(
    user: User, colleague: User, client_for: ClientFor, make_task: MakeTask
) -> None:
    task = make_task(schedule=hourly_since())
    boss = client_for(accounts.change_user(colleague, role=Role.ADMIN))
    run_command("deactivate_user", "ann")

    answer = boss.patch(f"/tasks/{task.pk}", {"frequency": 7200}, format="json")

    assert answer.status_code == 200
    assert not is_active(task)
    run_command("activate_user", "ann")
    assert is_active(task)


def test_many_tasks_take_as_many_statements_as_one(
    user: User, make_task: MakeTask
) -> None:
    counts = []
    for _ in range(2):
        make_task(schedule=hourly_since())
        for active in (False, True):
            with CaptureQueriesContext(
                connection,
            ) as seen:
                accounts.change_user(user, is_active=active)
            counts.append(len(seen))
        for _ in range(20):
            make_task(schedule=hourly_since())

    assert counts[:2] == counts[2:]


def test_it_stands_in_the_audit_log(user: User, make_task: MakeTask) -> None:
    task = make_task(schedule=hourly_since())

    run_command("deactivate_user", "ann")
    run_command("deactivate_user", "ann")
    run_command("activate_user", "ann")

    found = AuditEntry.objects.exclude(action="task.create").order_by("id")
    assert [(e.action, e.object_id) for e in found][-4:] == [
        ("user.deactivate", "ann"),
        ("task.pause", str(task.pk)),
        ("user.activate", "ann"),
        ("task.resume", str(task.pk)),
    ]


# Handing over.


def test_tasks_that_are_handed_over_go_on_with_all_that_is_theirs(
    user: User, colleague: User, client_for: ClientFor, make_task: MakeTask
) -> None:
    going = make_task(schedule=hourly_since(), name="a", tags=("x",))
    paused = make_task(schedule=hourly_since())
    ended = make_task(schedule=hourly_since())
    now = timezone.now()
    pausing.pause_tasks(user, [str(paused.pk)], now=now)
    removal.remove_task(user, str(ended.pk), now=now)
    run_command("deactivate_user", "ann")

    said = run_command("transfer_tasks", "ann", "adam")

    assert said.strip() == "3 tasks of ann@Alpha are adam@Alpha's."
    assert (is_active(going), is_active(paused)) == (True, False)
    assert going.periodic_task.description.endswith(" for adam@Alpha")
    api = client_for(colleague)
    assert api.get("/tasks/").json()["count"] == 2
    assert len(api.get("/tasks/?tag=x").json()["tasks"]) == 1
    assert Task.objects.get(pk=ended.pk).owner == colleague
    total = task_counts.count_alive(user.tenant_id, [user.pk], Surface.TASKS, now=now)  # type: ignore[arg-type]  # the user has a tenant
    assert total == 0
    entry = AuditEntry.objects.get(action="task.transfer")
    assert entry.changes == {"user": ["ann", "adam"]}
    assert entry.count == 3


def test_many_tasks_are_handed_over_in_batches(
    user: User, colleague: User, make_task: MakeTask
) -> None:
    for _ in range(5):
        make_task()

    assert owners.transfer_tasks(user, colleague, batch_size=2) == 5
    assert owners.transfer_tasks(user, colleague) == 0
    assert AuditEntry.objects.filter(action="task.transfer").count() == 3


def test_what_cannot_be_handed_over_is_refused(
    user: User, colleague: User, stranger: User, make_task: MakeTask
) -> None:
    task = make_task()
    for target, sentence in (
        ("bob@Beta", "no user bob@Beta"),
        ("ann", "already"),
        ("nobody", "no user nobody"),
    ):
        with pytest.raises(CommandError, match=sentence):
            run_command("transfer_tasks", "ann", target)
    with pytest.raises(accounts.AccountError, match="within a tenant"):
        owners.transfer_tasks(user, stranger)
    run_command("deactivate_user", "adam")
    with pytest.raises(CommandError, match="adam@Alpha is deactivated"):
        run_command("transfer_tasks", "ann", "adam")

    assert Task.objects.get(pk=task.pk).owner == user


def test_a_deactivated_user_makes_nothing_any_more(
    user: User, client_for: ClientFor
) -> None:
    api = client_for(user)
    run_command("deactivate_user", "ann")

    assert api.post("/tasks/", ONE_TIME, format="json").status_code == 401


def test_an_admin_of_the_tenant_hands_tasks_over(
    user: User,
    colleague: User,
    stranger: User,
    client_for: ClientFor,
    make_task: MakeTask,
) -> None:
    task, member = make_task(schedule=hourly_since()), client_for(user)
    boss = client_for(accounts.change_user(colleague, role=Role.ADMIN))
    path, to = "/users/ann/transfer", {"to": "adam"}

    assert member.post(path, to, format="json").status_code == 403
    outsider = client_for(accounts.change_user(stranger, role=Role.ADMIN))
    assert outsider.post(path, to, format="json").status_code == 404
    for wrong in ({}, {"to": 7}, {"to": "bob"}, {"to": "bob@Beta"}, {"to": "ann"}):
        refused = boss.post(path, wrong, format="json")
        assert refused.status_code == 400
        assert "to" in refused.json()["error"]["message"]
    answer = boss.post(path, to, format="json")

    assert answer.json()["count"] == 1
    assert Task.objects.get(pk=task.pk).owner == colleague
    assert boss.get("/tasks/").json()["count"] == 1
