"""The audit log: an entry if and only if there was a change, and never another one."""

from __future__ import annotations

import inspect
import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from rest_framework.test import APIClient

from accounts import audit
from accounts import services as accounts
from accounts.models import AuditEntry, Role, Tenant, Token, User, Via
from tasks_api import tasks
from tasks_api.domain.exceptions import NotYourTask
from tasks_api.models import Run, Task
from tasks_api.services import pausing, removal
from tests.conftest import ClientFor, MakeTask
from tests.integration.tasks_surface import ONE_TIME, created

pytestmark = pytest.mark.django_db(transaction=True)


def told(**filters: Any) -> list[tuple[str, str, str, str]]:
    found = AuditEntry.objects.filter(**filters).order_by("id")
    return [(e.actor, e.via, e.action, e.object_id) for e in found]


def test_what_a_user_does_with_a_task_is_logged(api: APIClient) -> None:
    before = AuditEntry.objects.count()
    task = created(api, ONE_TIME)["id"]
    for _ in range(2):
        # The second one changes nothing.
        api.post(f"/tasks/{task}/pause")
    api.post(f"/tasks/{task}/resume")
    api.delete(f"/tasks/{task}")

    prefix = Token.objects.get().prefix
    assert told(token_prefix=prefix) == [
        ("ann@Alpha", "api", f"task.{verb}", task)
        for verb in ("create", "pause", "resume", "remove")
    ]
    assert AuditEntry.objects.count() == before + 4


def test_a_change_that_fails_leaves_no_entry(
    colleague: User, make_task: MakeTask
) -> None:
    own, other = make_task(colleague), make_task()
    before = AuditEntry.objects.count()

    with pytest.raises(NotYourTask):
        pausing.pause_tasks(colleague, [str(own.pk), str(other.pk)], now=timezone.now())
    with transaction.atomic():
        removal.remove_task(colleague, str(own.pk), now=timezone.now())
        transaction.set_rollback(True)

    assert AuditEntry.objects.count() == before


def test_many_tasks_at_once_are_one_entry_that_names_all(
    user: User, make_task: MakeTask
) -> None:
    ids = sorted(str(make_task().pk) for _ in range(30))

    pausing.pause_tasks(user, ids, now=timezone.now())

    [entry] = AuditEntry.objects.filter(action="task.pause")
    assert (entry.count, entry.object_id) == (30, "")
    assert sorted(entry.object_ids) == ids
    found = audit.entries(entry.tenant_id, object_id=ids[7])
    assert [each.action for each in found] == ["task.pause", "task.create"]


def test_the_formats_of_others_are_logged_too(
    user: User, client_for: ClientFor
) -> None:
    api = client_for(user)
    job = {"id": "a", "endpoint": "http://e.org/", "cron": "@daily", "payload": 1}
    api.post("/", job, format="json")
    api.post("/", {**job, "cron": "@hourly"}, format="json")
    api.delete("/?job_id=a")
    accounts.configure_tenant(
        "Alpha", callback_url="http://e.org/", shared_secret="s3sam3"
    )
    timers = APIClient()
    timers.credentials(HTTP_SCHEDULER_SECRET="s3sam3")
    timers.post("/cron", {"jobs": [{"id": "x", "spec": "@daily"}]}, format="json")
    timers.post("/cron", {"jobs": []}, format="json")

    actions = [
        (actor, action) for actor, _, action, _ in told(action__startswith="task.")
    ]
    assert actions == [
        ("ann@Alpha", "task.create"),
        ("ann@Alpha", "task.replace"),
        ("ann@Alpha", "task.remove"),
        ("timers@Alpha", "task.create"),
        ("timers@Alpha", "task.remove"),
    ]


def test_the_command_line_is_an_actor_and_no_secret_is_told(db: None) -> None:
    out = StringIO()
    for command in (
        ["issue_token", "--tenant", "Alpha", "--user", "ann", "--scope", "read"],
        [
            "configure_tenant",
            "Alpha",
            "--shared-secret",
            "s3sam3",
            "--max-in-flight",
            "9",
        ],
        ["set_role", "ann", "admin"],
        ["deactivate_user", "ann"],
        ["deactivate_user", "ann"],
        ["activate_user", "ann"],
        ["rotate_signing_secret", "Alpha"],
        ["add_user", "eve", "--tenant", "Alpha"],
    ):
        call_command(*command, stdout=out)
    token, secret = (word for word in out.getvalue().split() if len(word) > 40)
    call_command("revoke_token", token, stdout=out)

    assert {(actor, via) for actor, via, *_ in told()} == {("command line", "cli")}
    assert [action for *_, action, _ in told()] == [
        "tenant.create",
        "user.add",
        "token.issue",
        "tenant.change",
        "user.change",
        "user.deactivate",
        "user.activate",
        "signing_secret.rotate",
        "user.add",
        "token.revoke",
    ]
    change = AuditEntry.objects.get(action="tenant.change").changes
    assert change == {"shared_secret": ["…", "…"], "max_in_flight": [None, 9]}
    text = json.dumps(list(AuditEntry.objects.values()), default=str)
    assert not [each for each in (token, secret, "s3sam3") if each in text]


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("callback_url", "http://e.org/a", ["", "http://e.org/a"]),
        ("notification_url", "http://e.org/b", ["", "http://e.org/b"]),
        ("shared_secret", "a secret that is long enough", ["…", "…"]),
        ("max_in_flight", 7, [None, 7]),
        ("retention_days", 7, [None, 7]),
    ],
)
def test_each_setting_of_a_tenant_is_told_of_when_it_changes(
    alpha: Tenant, setting: str, value: Any, told: list[Any]
) -> None:
    settings = inspect.signature(accounts.configure_tenant).parameters
    assert set(settings) - {"name"} <= set(accounts.audited_settings(alpha))

    accounts.configure_tenant("Alpha", **{setting: value})
    accounts.configure_tenant("Alpha", **{setting: value})

    entry = AuditEntry.objects.get(action="tenant.change")
    assert entry.changes == {setting: told}


def test_staff_are_actors_in_the_admin(
    client: Client, user: User, make_task: MakeTask
) -> None:
    client.force_login(User.objects.create_superuser("root", password="x"))
    task = make_task()
    before = AuditEntry.objects.order_by("id").last()
    assert before is not None

    steered = {"action": "pause", "_selected_action": [str(task.pk)]}
    client.post(reverse("admin:tasks_api_task_changelist"), steered)
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

    assert told(id__gt=before.pk) == [
        ("root", "admin", "task.pause", str(task.pk)),
        ("root", "admin", "user.change", "ann"),
        ("root", "admin", "user.deactivate", "ann"),
        ("root", "admin", "tenant.change", "Alpha"),
        ("root", "admin", "tenant.change", "Alpha"),
    ]
    first = AuditEntry.objects.filter(action="tenant.change").order_by("id")[0]
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


def test_who_edits_a_schedule_is_logged(client: Client, make_task: MakeTask) -> None:
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
def test_who_steers_stored_schedules_is_logged(
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


def test_nobody_changes_or_deletes_an_entry(user: User) -> None:
    entry = AuditEntry.objects.first()
    assert entry is not None

    for act in (
        lambda: AuditEntry.objects.filter(pk=entry.pk).update(actor="eve"),
        lambda: AuditEntry.objects.filter(pk=entry.pk).delete(),
        entry.delete,
    ):
        with pytest.raises(DatabaseError, match="append-only"):
            act()
    assert AuditEntry.objects.get(pk=entry.pk).actor == "the service"


def test_retention_forgets_what_is_old_and_nothing_else(
    user: User, settings: Any
) -> None:
    count = AuditEntry.objects.count()

    tasks.prune()
    assert AuditEntry.objects.count() == count
    later = timezone.now() + timedelta(days=settings.SCHEDULER_AUDIT_RETENTION_DAYS)
    assert audit.prune(now=later - timedelta(hours=1)) == 0
    assert audit.prune(now=later + timedelta(hours=1)) == count
    # It was let through for that alone.
    accounts.add_user(Tenant.objects.get(), "eve")
    with pytest.raises(DatabaseError, match="append-only"):
        AuditEntry.objects.all().delete()


def test_an_admin_reads_the_log_of_the_tenant(
    user: User, stranger: User, client_for: ClientFor, make_task: MakeTask
) -> None:
    api = client_for(accounts.change_user(user, role=Role.ADMIN))
    mine, theirs = make_task(), make_task(stranger)

    entries = api.get("/audit/").json()["entries"]

    assert str(theirs.pk) not in json.dumps(entries)
    assert entries[0]["objects"] == [str(mine.pk)]
    [changed] = api.get("/audit/?action=user.change").json()["entries"]
    assert changed["changes"] == {"role": {"from": "member", "to": "admin"}}
    assert len(api.get("/audit/?action=user.").json()["entries"]) == 2
    assert api.get("/audit/?actor=nobody").json()["entries"] == []
    assert len(api.get(f"/audit/?object={mine.pk}").json()["entries"]) == 1
    at = timezone.now().isoformat().replace("+", "%2B")
    assert api.get(f"/audit/?from={at}").json()["entries"] == []
    assert len(api.get(f"/audit/?to={at}").json()["entries"]) == len(entries)
    first = api.get("/audit/?limit=1").json()
    rest = api.get(f"/audit/?cursor={first['next_cursor']}").json()
    assert first["entries"] + rest["entries"] == entries
    for query in ("from=x", "cursor=x", "limit=-1"):
        assert api.get(f"/audit/?{query}").status_code == 400


def test_the_command_prints_the_log(user: User, make_task: MakeTask) -> None:
    task = make_task()
    out = StringIO()

    call_command("audit", "--tenant", "Alpha", "--last", "1h", stdout=out)

    first = json.loads(out.getvalue().splitlines()[0])
    assert (first["action"], first["objects"]) == ("task.create", [str(task.pk)])


def test_the_command_tells_as_the_api_does(user: User, client_for: ClientFor) -> None:
    User.objects.filter(pk=user.pk).update(role=Role.ADMIN)
    api, out = client_for(User.objects.get(pk=user.pk)), StringIO()
    api.post("/users/", {"name": "bob"}, format="json")
    api.patch("/users/bob/", {"role": "admin"}, format="json")

    call_command("audit", "--tenant", "Alpha", stdout=out)

    printed = [json.loads(line) for line in out.getvalue().splitlines()]
    assert printed == api.get("/audit/").json()["entries"]


def test_one_request_tells_nothing_of_another(
    user: User, client_for: ClientFor
) -> None:
    client_for(user).get("/tasks/")

    with audit.acting(audit.Actor("x", Via.API)):
        accounts.add_user(Tenant.objects.get(), "eve")
    accounts.add_user(Tenant.objects.get(), "dan")

    assert [actor for actor, *_ in told(action="user.add")] == [
        "the service",
        "x",
        "the service",
    ]


@pytest.mark.parametrize("many", [10, 1000])
def test_a_log_costs_one_statement_whatever_the_number(
    user: User, many: int, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(1):
        audit.record(user.tenant_id, "task.pause", list(range(many)))


@pytest.mark.parametrize(
    "query", ["object=x", "actor=x", "action=token.issue", "limit=9"]
)
def test_every_filter_has_an_index(user: User, query: str) -> None:
    name, value = query.split("=")
    found = audit.entries(
        user.tenant_id or 0,
        object_id=value if name == "object" else "",
        actor=value if name == "actor" else "",
        action=value if name == "action" else "",
    )[:10]

    with connection.cursor() as cursor, transaction.atomic():
        cursor.execute("SET LOCAL enable_seqscan = off")
        plan = found.explain()

    assert "Seq Scan" not in plan
    assert Task.objects.count() == 0
