"""The audit log: an entry if and only if there was a change, and never another one."""

from __future__ import annotations

import inspect
import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from accounts import audit
from accounts import services as accounts
from accounts.models import AuditEntry, Role, Tenant, Token, User, Via
from tasks_api import tasks
from tasks_api.domain.exceptions import TaskAccessDenied
from tasks_api.models import Task
from tasks_api.services import pausing, removal
from tests.conftest import ClientFor, MakeTask, tenant_of
from tests.integration.support.audit_log import logged_actions
from tests.integration.support.tasks_surface import ONE_TIME, created

pytestmark = pytest.mark.django_db(transaction=True)


def test_each_change_of_a_task_by_its_user_is_logged(api: APIClient) -> None:
    before = AuditEntry.objects.count()
    task = created(api, ONE_TIME)["id"]
    for _ in range(2):
        # The second one changes nothing.
        api.post(f"/tasks/{task}/pause")
    api.post(f"/tasks/{task}/resume")
    api.delete(f"/tasks/{task}")

    prefix = Token.objects.get().prefix
    assert logged_actions(token_prefix=prefix) == [
        ("ann@Alpha", "api", f"task.{verb}", task)
        for verb in ("create", "pause", "resume", "remove")
    ]
    assert AuditEntry.objects.count() == before + 4


def test_a_change_that_fails_leaves_no_entry(
    colleague: User, make_task: MakeTask
) -> None:
    own, other = make_task(colleague), make_task()
    before = AuditEntry.objects.count()

    with pytest.raises(TaskAccessDenied):
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
    assert entry.object_ids is not None
    assert sorted(entry.object_ids) == ids
    found = audit.find_entries(tenant_of(user).pk, object_id=ids[7])
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
        (actor, action)
        for actor, _, action, _ in logged_actions(action__startswith="task.")
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

    assert {(actor, via) for actor, via, *_ in logged_actions()} == {
        ("command line", "cli")
    }
    assert [action for *_, action, _ in logged_actions()] == [
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
def test_each_setting_of_a_tenant_is_logged_when_it_changes(
    alpha: Tenant, setting: str, value: Any, told: list[Any]
) -> None:
    settings = inspect.signature(accounts.configure_tenant).parameters
    assert set(settings) - {"name"} <= set(accounts.audited_settings(alpha))

    accounts.configure_tenant("Alpha", **{setting: value})
    accounts.configure_tenant("Alpha", **{setting: value})

    entry = AuditEntry.objects.get(action="tenant.change")
    assert entry.changes == {setting: told}


def test_an_entry_cannot_be_changed_or_deleted(user: User) -> None:
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
    user: User, settings: LazySettings
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

    with audit.acting_as(audit.Actor("x", Via.API)):
        accounts.add_user(Tenant.objects.get(), "eve")
    accounts.add_user(Tenant.objects.get(), "dan")

    assert [actor for actor, *_ in logged_actions(action="user.add")] == [
        "the service",
        "x",
        "the service",
    ]


@pytest.mark.parametrize("many", [10, 1000])
def test_a_log_costs_one_statement_whatever_the_number(
    user: User, many: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(1):
        audit.record(user.tenant_id, "task.pause", list(range(many)))


@pytest.mark.parametrize(
    "query", ["object=x", "actor=x", "action=token.issue", "limit=9"]
)
def test_every_filter_has_an_index(user: User, query: str) -> None:
    name, value = query.split("=")
    found = audit.find_entries(
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
