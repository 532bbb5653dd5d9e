"""A tenant and a user can be deleted with all that there is of them, and nothing else."""

from __future__ import annotations

import threading
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import ClockedSchedule, PeriodicTask

from accounts import services as accounts
from accounts.models import AuditEntry, Role, Tenant, Token, User
from tasks_api.domain.schedules import Interval, Once
from tasks_api.domain.states import RunState
from tasks_api.models import Run, Task
from tasks_api.services import erasure, owners
from tests.conftest import ClientFor, MakeTask
from tests.integration.support.notices import (
    end,
    make_channel,
    make_periodic,
    make_rule,
)
from tests.integration.support.stored_tasks import give_back, take_due
from tests.integration.support.tasks_surface import ONE_TIME

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)


def run_command(*command: str) -> str:
    out = StringIO()
    call_command(*command, stdout=out, stderr=StringIO())
    return out.getvalue().strip()


def row_counts() -> dict[str, int]:
    """How many rows there are in each table that has anything to do with tenants."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = "
            "'public' AND (table_name ~ '^(accounts|tasks_api)_' OR table_name IN ("
            "'django_celery_beat_periodictask', 'django_celery_beat_clockedschedule', "
            "'django_admin_log')) ORDER BY table_name"
        )
        tables = [name for (name,) in cursor.fetchall()]
        counts = {}
        for table in tables:
            cursor.execute(f"SELECT count(*) FROM {table}")  # noqa: S608 (its name)
            counts[table] = cursor.fetchone()[0]
    return counts


def fill_tenant(owner: User, client_for: ClientFor, make_task: MakeTask) -> None:
    """Leave something in every table."""
    api = client_for(owner)
    now = timezone.now()
    make_task(owner, schedule=Interval(now, HOUR), tags=("x",), name="every")
    make_task(owner, schedule=Once(now))
    task = make_task(owner, schedule=Interval(now + HOUR, HOUR))
    give_back(take_due())
    api.post(f"/tasks/{task.pk}/pause")
    api.post("/tasks/", ONE_TIME, format="json", HTTP_IDEMPOTENCY_KEY="k")
    job = {"id": "a", "queue": "q", "timeout": 1}
    api.post("/enqueue", job, format="json")
    accounts.configure_tenant(str(owner.tenant), shared_secret=f"secret of {owner}")
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO tasks_api_queuetally (tenant_id, queue, exhausted)"
            " VALUES (%s, 'q', 1)",
            [owner.tenant_id],
        )
        cursor.execute(
            "INSERT INTO tasks_api_attempt (run_id, number, started_at, duration_ms,"
            " error, answer) SELECT id, 1, now(), 1, '', '' FROM tasks_api_run"
            " WHERE tenant_id = %s",
            [owner.tenant_id],
        )
    make_rule(owner, make_channel(owner), "run.failed", "task.failing")
    end(make_periodic(owner, "fails"), True)


def test_of_a_deleted_tenant_nothing_is_left_and_of_others_everything(
    stranger: User, client_for: ClientFor, make_task: MakeTask, client: Client
) -> None:
    fill_tenant(stranger, client_for, make_task)
    run_command("delete_tenant", "Alpha", "--yes")
    before = row_counts()
    user = accounts.provision_user("Alpha", "ann")
    fill_tenant(user, client_for, make_task)
    client.force_login(User.objects.create_superuser("root", password="x"))
    form = {"role": "admin", "date_joined_0": "2026-11-21", "date_joined_1": "10:00:00"}
    client.post(reverse("admin:accounts_user_change", args=[user.pk]), form)
    User.objects.get(username="root").delete()

    said = run_command("delete_tenant", "Alpha", "--yes")

    assert said == "The tenant Alpha is deleted."
    # One entry says that it was.
    before["accounts_auditentry"] += 1
    assert row_counts() == before
    entry = AuditEntry.objects.filter(action="tenant.delete").latest("id")
    assert (entry.tenant_id, entry.object_id) == (None, "Alpha")
    assert client_for(stranger).get("/tasks/").json()["count"] == 5


def test_nothing_is_deleted_by_mistake(user: User, make_task: MakeTask) -> None:
    make_task()
    before = row_counts()

    for command in (["delete_tenant", "Alpha"], ["delete_user", "ann"]):
        with pytest.raises(CommandError, match="--yes"):
            run_command(*command)
    with pytest.raises(CommandError, match="--transfer-to"):
        run_command("delete_user", "ann", "--yes")
    with pytest.raises(CommandError, match="no tenant Gamma"):
        run_command("delete_tenant", "Gamma", "--yes")

    assert row_counts() == before
    assert User.objects.get(pk=user.pk).is_active


def test_what_was_cut_off_is_finished_when_it_is_said_again(
    user: User, client_for: ClientFor, make_task: MakeTask
) -> None:
    fill_tenant(user, client_for, make_task)

    def cut_off(text: str) -> None:
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            erasure.erase_tenant(Tenant.objects.get(), report=cut_off)
    assert not User.objects.filter(is_active=True).exists()
    run_command("delete_tenant", "Alpha", "--yes")

    assert not Tenant.objects.exists()
    assert PeriodicTask.objects.filter(task="tasks_api.tasks.fire").count() == 0
    assert not ClockedSchedule.objects.exists()


def test_a_request_under_way_finishes_before_its_row_goes(
    user: User, make_task: MakeTask
) -> None:
    make_task(schedule=Interval(timezone.now(), HOUR))
    [taken] = take_due()
    done = threading.Event()

    def delete() -> None:
        try:
            run_command("delete_tenant", "Alpha", "--yes")
        finally:
            connection.close()
            done.set()

    deleting = threading.Thread(target=delete)
    deleting.start()
    assert not done.wait(1.5)
    assert Run.objects.filter(pk=taken.run_id).exists()
    Run.objects.update(
        state=RunState.SUCCEEDED, lease=None, wake_at=None, finished_at=timezone.now()
    )
    deleting.join(timeout=30)

    assert done.is_set()
    assert not Run.objects.exists()


def test_a_tenant_that_is_being_deleted_takes_no_user(
    user: User, client_for: ClientFor
) -> None:
    accounts.configure_tenant("Alpha", shared_secret="a secret of the tenant Alpha")
    api = client_for(user)
    seen: list[int] = []

    def look(text: str) -> None:
        seen.append(api.get("/tasks/").status_code)
        timers = Client(headers={"Scheduler-Secret": "a secret of the tenant Alpha"})
        seen.append(timers.post("/cron", {"jobs": []}).status_code)

    erasure.erase_tenant(Tenant.objects.get(), report=look)

    assert set(seen) == {401}


# Users.


@pytest.fixture
def known(user: User, colleague: User, client_for: ClientFor) -> User:
    """Ann, whose name stands in many places of the audit log."""
    boss = client_for(accounts.change_user(colleague, role=Role.ADMIN))
    boss.patch("/users/ann", {"role": "admin"}, format="json")
    own = client_for(user)
    own.post("/tokens/", {"name": "x"}, format="json")
    own.post("/tasks/", ONE_TIME, format="json")
    boss.post("/tokens/", {"user": "ann"}, format="json")
    return user


def test_a_user_is_deleted_and_the_tasks_are_another_ones(
    known: User, colleague: User, make_task: MakeTask
) -> None:
    task = make_task(known, schedule=Interval(timezone.now(), HOUR))

    said = run_command("delete_user", "ann", "--transfer-to", "adam", "--yes")

    assert said == "ann@Alpha is deleted."
    assert not User.objects.filter(name="ann").exists()
    task.refresh_from_db()
    assert (task.owner, task.ended_at) == (colleague, None)
    assert task.next_fire_at is not None
    assert not Token.objects.exclude(user=colleague).exists()


def test_the_audit_log_of_a_deleted_user_has_a_pseudonym(
    known: User, colleague: User
) -> None:
    count, pseudonym = AuditEntry.objects.count(), f"deleted-user-{known.pk}"

    run_command("delete_user", "ann", "--remove-tasks", "--yes")

    entries = AuditEntry.objects.order_by("id")
    assert len(entries) > count
    texts = [f"{e.actor} {e.object_id} {e.object_ids} {e.changes}" for e in entries]
    assert not [text for text in texts if "ann" in text]
    assert {e.actor for e in entries if e.action == "task.create"} == {pseudonym}
    issued = AuditEntry.objects.filter(action="token.issue", actor="adam@Alpha").get()
    assert issued.changes is not None
    assert issued.changes["user"] == [None, pseudonym]
    assert entries.filter(action="user.change", object_id=pseudonym).count() == 1
    assert entries.filter(action="user.change", object_id="adam").count() == 1
    assert entries[len(entries) - 1].action == "user.delete"


def test_a_user_is_deleted_with_the_tasks(
    known: User, colleague: User, client_for: ClientFor, make_task: MakeTask
) -> None:
    make_task(known, schedule=Interval(timezone.now(), HOUR))
    others = make_task(colleague, schedule=Interval(timezone.now(), HOUR))
    give_back(take_due())

    run_command("delete_user", "ann", "--remove-tasks", "--yes")

    assert [task.pk for task in Task.objects.all()] == [others.pk]
    assert Run.objects.count() == 1
    assert client_for(colleague).get("/tasks/").json()["count"] == 1


def test_a_heir_who_cannot_have_them_is_refused_before_anything_is_done(
    known: User, colleague: User, make_task: MakeTask
) -> None:
    accounts.change_user(colleague, is_active=False)

    with pytest.raises(CommandError, match="adam@Alpha is deactivated"):
        run_command("delete_user", "ann", "--transfer-to", "adam", "--yes")

    known.refresh_from_db()
    assert known.is_active


def test_staff_are_not_deleted(db: None) -> None:
    User.objects.create_superuser("root", password="x")

    with pytest.raises(CommandError, match="staff"):
        run_command("delete_user", "root", "--yes")


def test_the_admin_says_how(client: Client, user: User) -> None:
    client.force_login(User.objects.create_superuser("root", password="x"))

    for page, row, command in (
        ("user", user, "delete_user"),
        ("tenant", user.tenant, "delete_tenant"),
    ):
        assert row is not None
        answer: Any = client.get(
            reverse(f"admin:accounts_{page}_change", args=[row.pk])
        )
        assert f"manage.py {command}" in answer.content.decode()


def test_the_log_is_still_append_only(user: User, colleague: User) -> None:
    owners.transfer_tasks(user, colleague)

    with pytest.raises(Exception, match="append-only"):
        AuditEntry.objects.update(actor="nobody")
