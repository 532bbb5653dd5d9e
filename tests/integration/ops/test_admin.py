"""Staff see everything in the admin, operate tasks there, and read no secret twice."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.db import connections
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts import encryption
from accounts.models import SigningSecret, Tenant, Token, User, digest
from tasks_api.domain.schedules import Once
from tasks_api.domain.specs import RequestOptions, Surface, TaskSpec
from tasks_api.models import Run, Task
from tasks_api.services import manual_runs
from tasks_api.services import tasks as task_services
from tests.conftest import MakeTask
from tests.integration.support.stored_tasks import take_due

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)
PAGES = [
    "admin:index",
    "admin:accounts_tenant_changelist",
    "admin:accounts_user_changelist",
    "admin:accounts_token_changelist",
    "admin:accounts_token_add",
    "admin:tasks_api_task_changelist",
    "admin:tasks_api_stuck",
    "cells",
    "admin:tasks_api_channel_changelist",
    "admin:tasks_api_notificationrule_changelist",
    "admin:tasks_api_pendingnotice_changelist",
    "admin:tasks_api_rollupprogress_changelist",
    "admin:tasks_api_run_changelist",
    "admin:tasks_api_message_changelist",
    "admin:tasks_api_queuetally_changelist",
    "admin:django_celery_beat_periodictask_changelist",
]


def run_action(staff: Client, action: str, *tasks: Task, confirmed: bool = True) -> str:
    chosen = {"action": action, "_selected_action": [str(task.pk) for task in tasks]}
    if confirmed:
        chosen["confirmed"] = "yes"
    page = staff.post(reverse("admin:tasks_api_task_changelist"), chosen)
    return page.content.decode()


@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens(staff: Client, make_task: MakeTask, page: str) -> None:
    make_task()

    assert staff.get(reverse(page)).status_code == 200


@pytest.mark.parametrize("page", PAGES)
def test_no_page_opens_for_a_tenants_user(
    client: Client, user: User, page: str
) -> None:
    client.force_login(user)

    assert client.get(reverse(page)).status_code == 302


def test_a_task_and_its_runs_can_be_looked_at(
    staff: Client, make_task: MakeTask
) -> None:
    task = make_task()
    run = Run.objects.create(
        id=task.pk, task=task, tenant=task.tenant, scheduled_for=timezone.now(),
        wake_at=timezone.now(),
    )  # fmt: skip

    for page, row in [("tasks_api_task", task), ("tasks_api_run", run)]:
        answer = staff.get(reverse(f"admin:{page}_change", args=[row.pk]))
        assert answer.status_code == 200
        assert "example.com" in answer.content.decode()


def test_the_credentials_of_a_url_are_nobody_elses_business(
    staff: Client, make_task: MakeTask
) -> None:
    task = make_task(url="https://ann:sesame@example.com/x")
    run = Run.objects.create(
        id=task.pk, task=task, tenant=task.tenant, scheduled_for=timezone.now(),
        wake_at=timezone.now(),
    )  # fmt: skip

    for page, pk in [
        ("tasks_api_task", task.pk),
        ("tasks_api_run", run.pk),
        ("django_celery_beat_periodictask", task.periodic_task_id),
    ]:
        for url in (
            reverse(f"admin:{page}_changelist"),
            reverse(f"admin:{page}_change", args=[pk]),
        ):
            answer = staff.get(url)
            assert answer.status_code == 200
            assert "sesame" not in answer.content.decode()


def test_the_values_of_headers_are_nobody_elses_business(
    staff: Client, user: User
) -> None:
    now = timezone.now()
    headers = RequestOptions(("X-Key",), encryption.encrypt('["very secret"]'), 7)
    schedule = Once(now + timedelta(hours=1))
    spec = TaskSpec(Surface.TASKS, "http://e.com/", schedule, "{}", request=headers)
    task = task_services.create_task(user, spec, now=now)

    page = staff.get(reverse("admin:tasks_api_task_change", args=[task.pk]))

    text = page.content.decode()
    assert "X-Key" in text
    assert headers.sealed_values not in text
    assert "very secret" not in text


def test_tasks_are_paused_resumed_and_removed(
    staff: Client, make_task: MakeTask, stranger: User
) -> None:
    tasks = [make_task(), make_task(stranger)]

    run_action(staff, "pause", *tasks)
    assert not Task.objects.filter(next_fire_at__isnull=False).exists()
    run_action(staff, "resume", *tasks)
    assert Task.objects.filter(next_fire_at__isnull=False).count() == 2
    run_action(staff, "remove", *tasks)

    assert Task.objects.filter(end_reason="removed").count() == 2
    assert take_due() == []


def test_a_removal_asks_first(staff: Client, make_task: MakeTask) -> None:
    task, ended = make_task(name="nightly"), make_task(name="over")
    run_action(staff, "remove", ended)

    page = run_action(staff, "remove", task, ended, confirmed=False)

    assert "Are you sure?" in page
    assert str(task.pk) in page
    assert "Alpha: over" not in page
    assert Task.objects.get(pk=task.pk).ended_at is None


@pytest.mark.parametrize(
    ("term", "found"),
    [
        ("nightly", {"nightly/a", "nightly/b"}),
        ("nightly/b", {"nightly/b"}),
        ("Alpha", {"nightly/a", "daily"}),
        ("Beta", {"nightly/b"}),
        ("ann@Alpha", {"nightly/a", "daily"}),
        # A part of a name.
        ("IGHTLY", {"nightly/a", "nightly/b"}),
        ("ightlx", set()),
    ],
)
def test_tasks_and_runs_are_found_by_names_tenants_and_users(
    staff: Client, make_task: MakeTask, stranger: User, term: str, found: set[str]
) -> None:
    tasks = [make_task(name="nightly/a"), make_task(name="daily")]
    tasks.append(make_task(stranger, name="nightly/b"))
    manual_runs.fire_tasks([task.pk for task in tasks], now=timezone.now())
    run_action(staff, "remove", tasks[1])

    for model in ("task", "run"):
        page = staff.get(reverse(f"admin:tasks_api_{model}_changelist"), {"q": term})
        rows = page.context["cl"].queryset
        names = rows.values_list("name" if model == "task" else "task__name", flat=True)
        assert set(names) == found, model


def test_a_list_that_would_read_too_much_says_so(
    staff: Client, make_task: MakeTask
) -> None:
    """A lock that somebody holds makes the statement wait, as too many rows would."""
    make_task()
    reads = reverse("admin:tasks_api_task_changelist")
    other = connections.create_connection("default")
    with other.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE tasks_api_task")
        try:
            page = staff.get(reads, {"state": "active"})
        finally:
            cursor.execute("ROLLBACK")
            other.close()

    assert (page.status_code, page["Location"]) == (302, reads)
    assert "would read too many rows" in staff.get(reads).content.decode()


@pytest.mark.parametrize("state", ["active", "paused", "ended"])
def test_tasks_can_be_filtered_by_state(
    staff: Client, make_task: MakeTask, state: str
) -> None:
    tasks = {"active": make_task(), "paused": make_task(), "ended": make_task()}
    run_action(staff, "pause", tasks["paused"])
    run_action(staff, "remove", tasks["ended"])

    page = staff.get(reverse("admin:tasks_api_task_changelist"), {"state": state})

    text = page.content.decode()
    assert [name for name, task in tasks.items() if str(task.pk) in text] == [state]


def test_a_token_is_shown_once_when_it_is_made(staff: Client, user: User) -> None:
    answer = staff.post(
        reverse("admin:accounts_token_add"),
        {"user": user.pk, "name": "ci", "scope": "write"},
        follow=True,
    )

    [token] = re.findall(r"sch_[\w-]{20,}", answer.content.decode())
    assert Token.objects.get().digest == digest(token)
    again = staff.get(reverse("admin:accounts_token_changelist")).content.decode()
    assert token not in again
    assert digest(token) not in again


def test_a_tenant_made_in_the_admin_can_sign(staff: Client) -> None:
    page = reverse("admin:accounts_tenant_add")
    form = staff.get(page).context["adminform"].form
    values = {"name": "Gamma", **{name: "" for name in form.fields if name != "name"}}
    for inline in staff.get(page).context["inline_admin_formsets"]:
        values |= {
            field.html_name: field.value() for field in inline.formset.management_form
        }

    staff.post(page, values)

    tenant = Tenant.objects.get(name="Gamma")
    assert SigningSecret.objects.filter(tenant=tenant).count() == 1
