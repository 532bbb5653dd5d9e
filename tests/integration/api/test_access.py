"""Scopes, roles, users and signing secrets, through the API and the core."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from accounts import services
from accounts.models import Role, Scope, SigningSecret, Token, User, digest
from tasks_api.domain.specs import Surface
from tasks_api.models import Task
from tests.conftest import MakeTask, tenant_of
from tests.integration.support.tasks_surface import ONE_TIME, error
from tests.integration.support.token_clients import client_with_token

pytestmark = pytest.mark.django_db


DAY = 24 * 3600


# Roles.


def test_a_viewer_reads_what_the_tenant_has_and_changes_nothing(
    user: User, colleague: User, stranger: User, make_task: MakeTask
) -> None:
    services.change_user(user, role=Role.VIEWER)
    services.issue_token(colleague)
    tasks = {owner: make_task(owner) for owner in (colleague, stranger)}
    viewer = client_with_token(user, Scope.ADMIN)

    listed = viewer.get("/tasks/?owner=all").json()["tasks"]
    assert [each["id"] for each in listed] == [str(tasks[colleague].pk)]
    assert viewer.get(f"/tasks/id/{tasks[stranger].pk}").status_code == 404
    refused = viewer.post(f"/tasks/{tasks[colleague].pk}/pause/")
    assert refused.status_code == 403
    assert "A viewer reads" in refused.content.decode()
    assert viewer.get("/tokens/?owner=all").status_code == 403
    assert viewer.get("/users/").status_code == 403


# Scopes.


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("post", "/tasks/", ONE_TIME),
        ("post", "/", {}),
        ("post", "/api/v1/jobs", {}),
        ("post", "/enqueue", {}),
        ("get", "/next?queue=mail", None),
    ],
)
def test_a_read_token_is_refused_in_the_words_of_each_format(
    user: User, method: str, path: str, body: Any
) -> None:
    answer = getattr(client_with_token(user, Scope.READ), method)(
        path, body, format="json"
    )

    sentence = "This takes a token of scope write, and yours is read"
    assert answer.status_code == 403
    shapes = {
        "/tasks/": error(sentence),
        "/api/v1/jobs": {"message": sentence},
    }
    if path in shapes:
        assert answer.json() == shapes[path]
    else:
        assert answer.content.decode() == sentence
        assert answer["Content-Type"].startswith("text/plain")
    assert not Task.objects.exists()


def test_a_read_token_reads(user: User, make_task: MakeTask) -> None:
    task = make_task()

    assert (
        client_with_token(user, Scope.READ).get(f"/tasks/{task.pk}").status_code == 200
    )


def test_a_token_still_costs_one_statement(
    user: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    api = client_with_token(user, Scope.WRITE)
    api.get("/tasks/nonsense")

    with django_assert_num_queries(1):
        api.get("/tasks/nonsense")


# Roles.


def test_an_admin_reaches_the_tasks_of_the_tenant(
    user: User, tenant_admin: User, make_task: MakeTask
) -> None:
    task, api = make_task(), client_with_token(tenant_admin)

    assert api.get("/tasks/").json()["count"] == 0
    assert api.get("/tasks/?owner=all").json()["count"] == 1
    assert api.get("/tasks/?owner=ann").json()["tasks"][0]["id"] == str(task.pk)
    assert api.get("/tasks/?owner=ann@Alpha").json()["count"] == 1
    assert api.get("/tasks/?owner=nobody").json()["count"] == 0
    assert api.get(f"/tasks/{task.pk}").status_code == 200
    assert api.post(f"/tasks/{task.pk}/pause").status_code == 200
    assert not Task.objects.get().periodic_task.enabled
    body = {"ids": [str(task.pk)]}
    assert api.post("/tasks/resume", body, format="json").status_code == 200
    assert Task.objects.get().periodic_task.enabled
    assert api.delete(f"/tasks/{task.pk}").status_code == 200
    assert Task.objects.get().ended_at


@pytest.mark.parametrize("scope", [Scope.READ, Scope.WRITE])
def test_the_role_alone_reaches_nothing(
    tenant_admin: User, make_task: MakeTask, scope: Scope
) -> None:
    task, api = make_task(), client_with_token(tenant_admin, scope)

    assert api.get(f"/tasks/{task.pk}").status_code == 404
    assert api.get("/tasks/?owner=all").status_code == 403
    assert api.get("/tokens/?owner=all").status_code == 403
    assert api.delete(f"/tasks/{task.pk}").status_code == 403


def test_the_scope_alone_reaches_nothing(colleague: User, make_task: MakeTask) -> None:
    task, api = make_task(), client_with_token(colleague)

    assert api.get(f"/tasks/{task.pk}").status_code == 404
    assert api.get("/tasks/?owner=all").status_code == 403
    assert api.post(f"/tasks/{task.pk}/pause").status_code == 403


def test_an_admin_reaches_nothing_of_another_tenant(
    user: User, stranger: User, make_task: MakeTask
) -> None:
    tasks = make_task(), make_task(surface=Surface.REST_JOBS)
    token = Token.objects.get(digest=digest(services.issue_token(user)))
    boss = client_with_token(services.change_user(stranger, role=Role.ADMIN))

    assert boss.get("/tasks/?owner=all").json()["count"] == 0
    assert boss.get("/tasks/?owner=ann@Alpha").json()["count"] == 0
    assert boss.get(f"/tasks/{tasks[0].pk}").status_code == 404
    assert boss.post(f"/tasks/{tasks[0].pk}/pause").status_code == 403
    assert boss.delete(f"/tasks/{tasks[0].pk}").status_code == 403
    assert boss.get(f"/api/v1/jobs/{tasks[1].pk}").status_code == 404
    assert boss.get("/tokens/?owner=ann").json()["tokens"] == []
    for method in ("get", "delete"):
        assert getattr(boss, method)(f"/tokens/{token.uuid}").status_code == 404
    assert boss.post(f"/tokens/{token.uuid}/rotate").status_code == 404
    assert boss.post("/tokens/", {"user": "ann"}, format="json").status_code == 400
    assert boss.get("/users/ann").status_code == 404
    assert (
        boss.patch("/users/ann", {"is_active": False}, format="json").status_code == 404
    )
    assert [each["name"] for each in boss.get("/users/").json()["users"]] == ["bob"]
    assert {e["actor"] for e in boss.get("/audit/").json()["entries"]} <= {
        "the service",
        "bob@Beta",
    }
    assert User.objects.get(name="ann").is_active


def test_a_filter_that_cannot_be_stored_is_refused(tenant_admin: User) -> None:
    api = client_with_token(tenant_admin)

    for path in ("/tasks/?owner=%00", "/tokens/?owner=%00", "/audit/?object=%00"):
        assert api.get(path).status_code == 400
    assert api.get("/users/%00").status_code == 404


# Users.


def test_an_admin_invites_and_locks_out(tenant_admin: User) -> None:
    api = client_with_token(tenant_admin)

    made = api.post("/users/", {"name": "eve"}, format="json")
    again = api.post("/users/", {"name": "eve"}, format="json")
    token = api.post("/tokens/", {"user": "eve"}, format="json").json()["token"]

    assert (made.status_code, again.status_code) == (201, 409)
    assert made.json()["role"] == "member"
    eve = APIClient()
    eve.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    assert eve.get("/tasks/").status_code == 200
    out = api.patch("/users/eve/", {"is_active": False}, format="json")
    assert out.json()["is_active"] is False
    assert eve.get("/tasks/").status_code == 401
    assert api.post("/tokens/", {"user": "eve"}, format="json").status_code == 400


@pytest.mark.parametrize("name", ["a/b", "a b", "ä", "x/"])
def test_a_name_is_found_whatever_is_in_it(tenant_admin: User, name: str) -> None:
    api = client_with_token(tenant_admin)
    api.post("/users/", {"name": name}, format="json")

    assert api.get("/users/").json()["users"][0]["name"] == name
    if not name.endswith("/"):
        assert api.get(f"/users/{name}").json()["name"] == name


@pytest.mark.parametrize(
    "body",
    [{}, {"name": ""}, {"name": " a"}, {"name": 7}, {"name": "x" * 151}, {"name": "a\nb"},
     {"name": "a", "role": "root"}, []],
)  # fmt: skip
def test_a_bad_user_is_refused(tenant_admin: User, body: Any) -> None:
    assert (
        client_with_token(tenant_admin).post("/users/", body, format="json").status_code
        == 400
    )
    assert User.objects.count() == 1


@pytest.mark.parametrize("body", [{"role": "member"}, {"is_active": False}])
def test_an_administrator_cannot_lock_themselves_out(
    tenant_admin: User, body: Any
) -> None:
    assert (
        client_with_token(tenant_admin)
        .patch("/users/adam", body, format="json")
        .status_code
        == 400
    )
    tenant_admin.refresh_from_db()
    assert (tenant_admin.role, tenant_admin.is_active) == ("admin", True)


@pytest.mark.parametrize("body", [{"role": 7}, {"is_active": "no"}, {"is_active": 0}])
def test_a_bad_change_of_a_user_is_refused(
    user: User, tenant_admin: User, body: Any
) -> None:
    assert (
        client_with_token(tenant_admin)
        .patch("/users/ann", body, format="json")
        .status_code
        == 400
    )


# Signing secrets.


def test_a_signing_secret_is_shown_once_and_both_live(tenant_admin: User) -> None:
    api = client_with_token(tenant_admin)
    now = timezone.now()
    [old] = services.load_signing_secrets(tenant_of(tenant_admin).pk, now)

    answer = api.post("/signing-secrets/rotate/")

    new = answer.json()
    listed = api.get("/signing-secrets/")
    assert answer.status_code == 201
    assert services.load_signing_secrets(tenant_of(tenant_admin).pk, now) == [
        new["secret"],
        old,
    ]
    assert [each["id"] for each in listed.json()["secrets"]] == [
        new["id"],
        services.fingerprint(old),
    ]
    assert all(each["is_readable"] for each in listed.json()["secrets"])
    assert "whsec_" not in listed.content.decode()


@pytest.mark.parametrize("seconds", [-1, 31 * DAY, True, "1", 1.5, 10**30])
def test_an_overlap_out_of_range_is_refused(tenant_admin: User, seconds: Any) -> None:
    answer = client_with_token(tenant_admin).post(
        "/signing-secrets/rotate/", {"overlap_seconds": seconds}, format="json"
    )

    assert answer.status_code == 400
    assert "overlap_seconds" in answer.json()["error"]["message"]
    assert SigningSecret.objects.count() == 1


def test_without_an_overlap_the_old_secret_signs_no_more(tenant_admin: User) -> None:
    answer = client_with_token(tenant_admin).post(
        "/signing-secrets/rotate/", {"overlap_seconds": 0}, format="json"
    )

    later = timezone.now()
    secrets = services.load_signing_secrets(tenant_of(tenant_admin).pk, later)
    assert secrets == [answer.json()["secret"]]
