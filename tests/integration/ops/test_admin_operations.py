"""Staff run tasks, redrive runs, and see what is stuck and what tenants use."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEntry, Tenant, User
from tasks_api.domain.ids import id_for
from tasks_api.domain.schedules import Interval
from tasks_api.models import (
    Channel,
    HourRollup,
    Message,
    NotificationRule,
    RollupProgress,
    Run,
    Task,
)
from tests.conftest import MakeTask
from tests.integration.support.routes import store_failed_run

pytestmark = pytest.mark.django_db(transaction=True)

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def page_of(row: Task | Run) -> str:
    return reverse(f"admin:tasks_api_{row._meta.model_name}_change", args=[row.pk])


def press(staff: Client, action: str, row: Task | Run) -> tuple[str, str]:
    """Press a button on the page of a row: where it leads, and what that page says."""
    actions = reverse(f"admin:tasks_api_{row._meta.model_name}_changelist")
    form = {"action": action, "_selected_action": str(row.pk), "from_page": "yes"}
    answer = staff.post(actions, form)
    return answer["Location"], staff.get(answer["Location"]).content.decode()


def buttons_of(staff: Client, row: Task | Run) -> list[str]:
    return [action for action, _ in staff.get(page_of(row)).context["buttons"]]


def test_a_task_runs_now_by_its_button(staff: Client, make_task: MakeTask) -> None:
    task = make_task()

    location, text = press(staff, "run", task)

    assert location == page_of(task)
    assert "1 will run now" in text
    run = Run.objects.get(task=task)
    assert (run.state, run.by_hand) == ("pending", True)
    entry = AuditEntry.objects.get(action="task.run")
    assert (entry.actor, entry.tenant_id) == ("root", task.tenant_id)


def test_several_tasks_run_now_by_the_action_of_the_list(
    staff: Client, make_task: MakeTask, stranger: User
) -> None:
    tasks = [make_task(), make_task(stranger)]

    staff.post(
        reverse("admin:tasks_api_task_changelist"),
        {"action": "run", "_selected_action": [task.pk for task in tasks]},
    )

    assert Run.objects.count() == 2


def test_a_run_is_redriven_by_its_button(staff: Client, make_task: MakeTask) -> None:
    failed = store_failed_run(make_task())

    location, text = press(staff, "redrive", failed)

    assert location == page_of(failed)
    assert "1 will be sent again" in text
    assert Run.objects.get(redrive_of=failed.pk).state == "pending"
    assert AuditEntry.objects.get(action="run.redrive").actor == "root"


def test_a_run_that_cannot_be_redriven_says_why(
    staff: Client, make_task: MakeTask
) -> None:
    failed = store_failed_run(make_task())
    press(staff, "redrive", failed)

    _, text = press(staff, "redrive", failed)

    assert "It is being sent again already" in text
    assert Run.objects.filter(redrive_of=failed.pk).count() == 1


def test_a_page_offers_what_can_be_done(staff: Client, make_task: MakeTask) -> None:
    task = make_task(schedule=Interval(timezone.now() + HOUR, HOUR))
    failed = store_failed_run(task)

    assert buttons_of(staff, task) == ["run", "pause", "remove"]
    assert buttons_of(staff, failed) == ["redrive"]
    press(staff, "pause", task)
    assert buttons_of(staff, task) == ["run", "resume", "remove"]
    Run.objects.filter(pk=failed.pk).update(state="succeeded")
    assert buttons_of(staff, failed) == []


def test_a_removal_by_a_button_asks_first(staff: Client, make_task: MakeTask) -> None:
    task = make_task()
    actions = reverse("admin:tasks_api_task_changelist")
    form = {"action": "remove", "_selected_action": str(task.pk), "from_page": "yes"}

    page = staff.post(actions, form)
    assert "Are you sure?" in page.content.decode()
    assert Task.objects.get(pk=task.pk).ended_at is None

    done = staff.post(actions, {**form, "confirmed": "yes"})
    assert done["Location"] == page_of(task)
    assert Task.objects.get(pk=task.pk).end_reason == "removed"
    assert buttons_of(staff, task) == []


def test_staff_who_only_look_have_no_buttons(
    client: Client, make_task: MakeTask
) -> None:
    task = make_task()
    failed = store_failed_run(task)
    helper = User.objects.create_user("help", password="x", is_staff=True)
    looks = ["view_task", "view_run"]
    helper.user_permissions.set(Permission.objects.filter(codename__in=looks))
    client.force_login(helper)

    assert buttons_of(client, task) == buttons_of(client, failed) == []
    for action, row in (("run", task), ("redrive", failed)):
        actions = reverse(f"admin:tasks_api_{row._meta.model_name}_changelist")
        client.post(actions, {"action": action, "_selected_action": str(row.pk)})
    assert Run.objects.count() == 1


# What is stuck.


def test_the_page_of_stuck_things_shows_them_with_links(
    staff: Client, make_task: MakeTask
) -> None:
    overdue, waiting, lapsed = (
        make_task(name=name) for name in ("overdue", "waiting", "lapsed")
    )
    make_task(name="on time")
    past = timezone.now() - 5 * MINUTE
    Task.objects.filter(pk=overdue.pk).update(next_fire_at=past)
    pending = store_live_run(waiting, "pending")
    running = store_live_run(lapsed, "running", lease=waiting.pk)
    Tenant.objects.filter(pk=lapsed.tenant_id).update(max_in_flight=1)

    page = staff.get(reverse("admin:tasks_api_stuck"))

    text = page.content.decode()
    for row in (overdue, waiting, lapsed, pending, running):
        assert page_of(row) in text
    assert "on time" not in text
    found = page.context["found"]
    assert [tenant.name for tenant in found.full] == ["Alpha"]
    assert [len(rows) for rows in found] == [1, 1, 1, 1]


def test_a_run_of_a_paused_task_is_not_stuck(
    staff: Client, make_task: MakeTask
) -> None:
    task = make_task(name="paused")
    store_live_run(task, "pending")
    press(staff, "pause", task)

    page = staff.get(reverse("admin:tasks_api_stuck"))

    assert page.context["found"].waiting == []


def test_only_staff_who_may_view_tasks_see_what_is_stuck(client: Client) -> None:
    helper = User.objects.create_user("help", password="x", is_staff=True)
    client.force_login(helper)

    assert client.get(reverse("admin:tasks_api_stuck")).status_code == 403
    assert "stuck" not in client.get(reverse("admin:index")).content.decode()


def store_live_run(task: Task, state: str, **more: object) -> Run:
    past = timezone.now() - 5 * MINUTE
    values = {"scheduled_for": past, "wake_at": past, "state": state, **more}
    run_id = id_for(past, task.tenant_id)
    return Run.objects.create(id=run_id, task=task, tenant=task.tenant, **values)


# What tenants use, and what they have set up.


def test_tenants_are_listed_with_what_they_use(
    staff: Client, make_task: MakeTask, alpha: Tenant, beta: Tenant
) -> None:
    make_task()
    make_task()
    now = timezone.now()
    for age, owner_id, counts in (
        (2, 0, {"runs:succeeded": 5, "runs:failed": 2, "planned": 9}),
        (2, 1, {"runs:succeeded": 5}),
        (30, 0, {"runs:succeeded": 100}),
    ):
        hour = (now - age * HOUR).replace(minute=0, second=0, microsecond=0)
        HourRollup.objects.create(
            tenant=alpha, owner_id=owner_id, hour=hour, counts=counts
        )
    message = {"queue": "mail", "timeout_seconds": 9, "run_at": now}
    Message.objects.create(tenant=beta, name="1", **message)
    User.objects.filter(tenant=alpha).update(last_login=now)

    page = staff.get(reverse("admin:accounts_tenant_changelist"))

    usages = {tenant.name: tenant.usage for tenant in page.context["cl"].result_list}
    assert usages["Alpha"][1:4] == (2, 7, 0)
    assert usages["Alpha"].last_active_at == now
    assert usages["Beta"][1:] == (0, 0, 1, None)
    assert f"?tenant__id__exact={alpha.pk}" in page.content.decode()


def test_the_settings_of_a_channel_are_never_shown(
    staff: Client, alpha: Tenant
) -> None:
    channel = Channel.objects.create(
        tenant=alpha,
        name="ops",
        kind="slack",
        sealed_settings='{"url": "https://hooks.example.com/sesame"}',
        max_per_hour=60,
    )
    rule = NotificationRule.objects.create(
        tenant=alpha, channel=channel, events=["run.failed"], streak=3, late_after=60
    )

    for page, row in (("channel", channel), ("notificationrule", rule)):
        for url in (
            reverse(f"admin:tasks_api_{page}_changelist"),
            reverse(f"admin:tasks_api_{page}_change", args=[row.pk]),
        ):
            answer = staff.get(url)
            text = answer.content.decode()
            assert answer.status_code == 200
            assert "ops" in text
            assert "sesame" not in text
    # Nor can they be searched for.
    search = {"sealed_settings__contains": "sesame"}
    answer = staff.get(reverse("admin:tasks_api_channel_changelist"), search)
    assert answer.status_code == 400


def test_the_progress_of_rollups_is_listed_the_furthest_behind_first(
    staff: Client, alpha: Tenant, beta: Tenant
) -> None:
    now = timezone.now()
    for tenant, age in ((alpha, 1), (beta, 9)):
        until = now - age * HOUR
        RollupProgress.objects.create(
            tenant=tenant, closed_from=until, closed_until=until, ended_until=until
        )

    page = staff.get(reverse("admin:tasks_api_rollupprogress_changelist"))

    listed = [row.tenant.name for row in page.context["cl"].result_list]
    assert listed == ["Beta", "Alpha"]
    assert "9:00:0" in page.content.decode()
