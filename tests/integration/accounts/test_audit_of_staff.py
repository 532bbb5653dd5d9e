"""The audit log names what staff do in the admin."""

from __future__ import annotations

import json

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from accounts.models import AuditEntry, User
from tasks_api.models import Run
from tasks_api.services import pausing
from tests.conftest import MakeTask
from tests.integration.support.audit_log import logged_actions

pytestmark = pytest.mark.django_db(transaction=True)


def test_staff_are_actors_in_the_admin(
    client: Client, user: User, make_task: MakeTask
) -> None:
    client.force_login(User.objects.create_superuser("root", password="x"))
    task = make_task()
    before = AuditEntry.objects.order_by("id").last()
    assert before is not None

    chosen = {"action": "pause", "_selected_action": [str(task.pk)]}
    client.post(reverse("admin:tasks_api_task_changelist"), chosen)
    users = reverse("admin:accounts_user_changelist")
    for action in ("make_admin", "deactivate"):
        client.post(users, {"action": action, "_selected_action": [user.pk]})
    tenant = reverse("admin:accounts_tenant_change", args=[user.tenant_id])
    form = {
        "name": "Alpha",
        "callback_url": "http://e.org/",
        "new_shared_secret": "s3s",
    }
    inline = {"signing_secrets-TOTAL_FORMS": 0, "signing_secrets-INITIAL_FORMS": 0}
    client.post(tenant, {**form, **inline})

    assert logged_actions(id__gt=before.pk) == [
        ("root", "admin", "task.pause", str(task.pk)),
        ("root", "admin", "user.change", "ann"),
        ("root", "admin", "user.deactivate", "ann"),
        ("root", "admin", "tenant.change", "Alpha"),
        ("root", "admin", "tenant.change", "Alpha"),
    ]
    first = AuditEntry.objects.filter(action="tenant.change").order_by("id")[0]
    assert first.changes is not None
    assert first.changes["callback_url"] == ["", "http://e.org/"]
    assert "s3s" not in json.dumps(first.changes)
    page = client.get(reverse("admin:accounts_auditentry_changelist"))
    assert page.status_code == 200
    found = client.get(
        reverse("admin:accounts_auditentry_changelist"), {"q": str(task.pk)}
    )
    assert found.content.decode().count("task.pause") == 1
    change = reverse("admin:accounts_auditentry_change", args=[before.pk])
    assert client.get(change).status_code == 200
    assert client.post(change, {"actor": "x"}).status_code == 403


def test_staff_who_edit_a_schedule_are_logged(
    client: Client, make_task: MakeTask
) -> None:
    client.force_login(User.objects.create_superuser("root", password="x"))
    task = make_task()
    page = reverse(
        "admin:django_celery_beat_periodictask_change", args=[task.periodic_task_id]
    )
    form = client.get(page).context["adminform"].form
    values = {
        name: value for name, value in form.initial.items() if value not in (None, "")
    }

    client.post(page, {**values, "enabled": "", "regtask": "", "priority": ""})

    [entry] = AuditEntry.objects.filter(action="schedule.change")
    assert (entry.actor, entry.object_id) == ("root", str(task.pk))


@pytest.mark.parametrize(
    ("action", "is_paused", "logged"),
    [
        ("run_tasks", False, "task.run"),
        ("run_tasks", True, "task.run"),
        ("disable_tasks", False, "task.pause"),
        ("enable_tasks", True, "task.resume"),
        ("toggle_tasks", False, "task.pause"),
        ("toggle_tasks", True, "task.resume"),
        # What changes nothing has no entry.
        ("disable_tasks", True, None),
        ("enable_tasks", False, None),
    ],
)
def test_staff_who_run_or_disable_schedules_are_logged(
    client: Client,
    make_task: MakeTask,
    stranger: User,
    action: str,
    is_paused: bool,
    logged: str | None,
) -> None:
    client.force_login(User.objects.create_superuser("root", password="x"))
    made = [make_task(), make_task(), make_task(stranger)]
    if is_paused:
        for task in made:
            pausing.pause_tasks(task.owner, [str(task.pk)], now=timezone.now())
    before = AuditEntry.objects.order_by("id").last()
    assert before is not None
    # One of nobody's goes on as django-celery-beat has it.
    rows = [*PeriodicTask.objects.all()]

    answer = client.post(
        reverse("admin:django_celery_beat_periodictask_changelist"),
        {"action": action, "_selected_action": [row.pk for row in rows]},
        follow=True,
    )

    entries = AuditEntry.objects.filter(id__gt=before.pk)
    assert answer.status_code == 200
    # One for each tenant.
    assert {(e.actor, e.via, e.action, e.count) for e in entries} == (
        {("root", "admin", logged, 2), ("root", "admin", logged, 1)}
        if logged
        else set()
    )
    runs = Run.objects.filter(by_hand=True).count()
    assert runs == (3 if action == "run_tasks" else 0)


def test_staff_who_may_only_look_run_nothing(
    client: Client, make_task: MakeTask
) -> None:
    looker = User.objects.create_user("looker", is_staff=True)
    looker.user_permissions.add(Permission.objects.get(codename="view_periodictask"))
    client.force_login(looker)
    task = make_task()

    for action in ("run_tasks", "disable_tasks", "enable_tasks", "toggle_tasks"):
        client.post(
            reverse("admin:django_celery_beat_periodictask_changelist"),
            {"action": action, "_selected_action": [task.periodic_task_id]},
        )

    assert not Run.objects.exists()
    assert PeriodicTask.objects.get(pk=task.periodic_task_id).enabled
