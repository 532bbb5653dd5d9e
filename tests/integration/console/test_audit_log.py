"""The page of the audit log: filters, pages, and changes that people can read."""

from __future__ import annotations

from datetime import timedelta
from html import unescape

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts import audit, services
from accounts.audit import Actor
from accounts.models import AuditEntry, Role, Tenant, User, Via
from tests.conftest import ClientFor, MakeTask
from tests.integration.support.notices import make_channel, make_rule

pytestmark = pytest.mark.django_db

AUDIT = "/app/settings/audit/"
ANN = Actor("ann@Alpha", Via.API, "sch_12345678")


def read(browser: Client, **filters: str) -> str:
    page = browser.get(AUDIT, filters)
    assert page.status_code == 200
    return unescape(page.content.decode()).partition("<main")[2]


def test_an_entry_says_who_changed_what_and_from_what_to_what(
    admin: Client, user: User
) -> None:
    with audit.acting_as(ANN):
        services.change_user(user, role=Role.VIEWER)

    page = read(admin)

    assert "ann@Alpha" in page
    assert "sch_12345678…" in page
    assert "user.change" in page
    assert "<del>member</del>" in page
    assert "<ins>viewer</ins>" in page


def test_objects_have_names_and_pages(
    admin: Client, tenant_admin: User, make_task: MakeTask
) -> None:
    task = make_task(tenant_admin, name="monthly report")
    make_channel(tenant_admin, name="ops chat")
    services.issue_token(tenant_admin, name="deploy")

    page = read(admin)

    assert f'<a href="/app/tasks/{task.pk}/">monthly report</a>' in page
    assert "ops chat" in page
    assert "deploy" in page


def test_an_object_that_is_gone_has_its_id(admin: Client, alpha: Tenant) -> None:
    audit.record(alpha.pk, "run.redrive", ["01a1fc25-cc90-73cc-897d-06cb540be56b"])

    page = read(admin)

    assert "/app/runs/01a1fc25-cc90-73cc-897d-06cb540be56b/" in page


def test_many_objects_are_counted(admin: Client, alpha: Tenant) -> None:
    audit.record(alpha.pk, "task.pause", [f"task-{n}" for n in range(9)])

    page = read(admin)

    assert "task-4" in page
    assert "task-5" not in page
    assert "and 4 more" in page


def test_secrets_stay_redacted(admin: Client, alpha: Tenant) -> None:
    services.configure_tenant("Alpha", shared_secret="a very secret secret value 1")

    page = read(admin)

    assert "shared secret" in page
    assert "changed, and not shown" in page
    assert "very secret" not in page


def test_a_new_object_shows_what_it_has(admin: Client, tenant_admin: User) -> None:
    channel = make_channel(tenant_admin, name="ops chat")
    make_rule(tenant_admin, channel, "run.failed")

    page = read(admin, action="rule.create")

    assert "<ins>ops chat</ins>" in page
    assert "nothing" not in page
    assert "<del>" not in page


def test_filters_are_those_of_the_api(
    admin: Client, tenant_admin: User, user: User, client_for: ClientFor
) -> None:
    with audit.acting_as(ANN):
        services.issue_token(user)
    services.change_user(user, role=Role.VIEWER)
    now = timezone.now()
    past, soon = now - timedelta(hours=1), now + timedelta(minutes=1)

    assert "user.change" not in read(admin, actor="ann@Alpha")
    assert "token.issue" in read(admin, actor="ann@Alpha")
    assert "token.issue" not in read(admin, action="user.")
    assert "user.change" in read(admin, action="user.")
    assert "token.issue" not in read(admin, object="ann")
    assert "No entry matches" in read(admin, to=f"{past:%Y-%m-%dT%H:%M}")
    page = read(
        admin,
        action="token.",
        to=f"{soon:%Y-%m-%dT%H:%M}",
        **{"from": f"{past:%Y-%m-%dT%H:%M}"},
    )
    assert "token.issue" in page
    url = page.partition('curl "')[2].partition('"')[0]
    found = client_for(tenant_admin).get(url.removeprefix("http://testserver")).json()
    assert {entry["action"] for entry in found["entries"]} == {"token.issue"}


@pytest.mark.parametrize("filters", [{"from": "yesterday"}, {"after": "nonsense"}])
def test_filters_that_cannot_be_read_are_said_or_ignored(
    admin: Client, alpha: Tenant, filters: dict[str, str]
) -> None:
    page = read(admin, **filters)

    assert ('role="alert"' in page) is ("from" in filters)


def test_the_log_has_pages_that_cost_the_same(
    admin: Client,
    alpha: Tenant,
    make_task: MakeTask,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(60):
        audit.record(alpha.pk, "user.add", [f"user{number:02}"])
    make_task()
    entries = list(AuditEntry.objects.filter(tenant=alpha).order_by("-id"))

    with django_assert_max_num_queries(7):
        first = read(admin, action="user.")
    last = next(e for e in entries if e.object_id == "user10")
    second = read(admin, action="user.", after=str(last.pk))

    assert f"after={last.pk}" in first
    assert all(f">user{n} " in first or f"user{n}" in first for n in (10, 59))
    assert "user09" in second
    assert "user10" not in second


def test_a_tenant_sees_no_entry_of_another(
    admin: Client, stranger: User, make_task: MakeTask
) -> None:
    make_task(stranger, name="theirs")

    assert "theirs" not in read(admin)


def test_names_of_another_tenant_are_not_told(
    admin: Client, alpha: Tenant, stranger: User, make_task: MakeTask
) -> None:
    foreign = make_task(stranger, name="theirs")
    audit.record(alpha.pk, "task.pause", [foreign.pk])

    page = read(admin)

    assert str(foreign.pk) in page
    assert "theirs" not in page
