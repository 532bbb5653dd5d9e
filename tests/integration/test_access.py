"""Scopes, roles, tokens, users and signing secrets, through the API and the core."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import services
from accounts.models import Role, Scope, SigningSecret, Token, User
from tasks_api.domain.specs import Surface
from tasks_api.models import Task
from tests.conftest import ClientFor, MakeTask
from tests.integration.tasks_surface import ONE_TIME, error

pytestmark = pytest.mark.django_db

DAY = 24 * 3600


def client(user: User, scope: Scope = Scope.ADMIN, **more: Any) -> APIClient:
    api = APIClient(raise_request_exception=False)
    token = services.issue_token(user, scope=scope, **more)
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return api


@pytest.fixture
def admin(colleague: User) -> User:
    return services.change_user(colleague, role=Role.ADMIN)


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
def test_who_may_only_read_is_told_so_in_the_words_of_each_format(
    user: User, method: str, path: str, body: Any
) -> None:
    answer = getattr(client(user, Scope.READ), method)(path, body, format="json")

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


def test_who_may_only_read_does_read(user: User, make_task: MakeTask) -> None:
    task = make_task()

    assert client(user, Scope.READ).get(f"/tasks/{task.pk}").status_code == 200


def test_a_token_still_costs_one_statement(
    user: User, django_assert_num_queries: Any
) -> None:
    api = client(user, Scope.WRITE)
    api.get("/tasks/nonsense")

    with django_assert_num_queries(1):
        api.get("/tasks/nonsense")


# Roles.


def test_an_admin_reaches_the_tasks_of_the_tenant(
    user: User, admin: User, make_task: MakeTask
) -> None:
    task, api = make_task(), client(admin)

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
    admin: User, make_task: MakeTask, scope: Scope
) -> None:
    task, api = make_task(), client(admin, scope)

    assert api.get(f"/tasks/{task.pk}").status_code == 404
    assert api.get("/tasks/?owner=all").status_code == 403
    assert api.get("/tokens/?owner=all").status_code == 403
    assert api.delete(f"/tasks/{task.pk}").status_code == 403


def test_the_scope_alone_reaches_nothing(colleague: User, make_task: MakeTask) -> None:
    task, api = make_task(), client(colleague)

    assert api.get(f"/tasks/{task.pk}").status_code == 404
    assert api.get("/tasks/?owner=all").status_code == 403
    assert api.post(f"/tasks/{task.pk}/pause").status_code == 403


def test_an_admin_reaches_nothing_of_another_tenant(
    user: User, stranger: User, make_task: MakeTask
) -> None:
    tasks = make_task(), make_task(surface=Surface.REST_JOBS)
    token = Token.objects.get(digest=services.digest(services.issue_token(user)))
    boss = client(services.change_user(stranger, role=Role.ADMIN))

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


def test_a_filter_that_cannot_be_stored_is_refused(admin: User) -> None:
    api = client(admin)

    for path in ("/tasks/?owner=%00", "/tokens/?owner=%00", "/audit/?object=%00"):
        assert api.get(path).status_code == 400
    assert api.get("/users/%00").status_code == 404


# Tokens.


def test_a_token_is_issued_and_shown_once(user: User) -> None:
    api = client(user)
    body = {"name": "ci", "scope": "write", "expires_in": 60}

    answer = api.post("/tokens/", body, format="json")

    made = answer.json()
    assert answer.status_code == 201
    assert answer["Cache-Control"] == "no-store"
    assert made["token"].startswith(made["prefix"])
    [shown, _] = api.get("/tokens/").json()["tokens"]
    assert shown == {name: made[name] for name in made if name != "token"}
    assert api.get(answer["Location"]).json() == shown
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {made['token']}")
    assert api.get("/tasks/").status_code == 200
    assert api.get("/tokens/").json()["tokens"][0]["last_used_at"]


@pytest.mark.parametrize("own", list(Scope))
@pytest.mark.parametrize("wanted", list(Scope))
def test_no_token_makes_a_greater_one(user: User, own: Scope, wanted: Scope) -> None:
    answer = client(user, own).post("/tokens/", {"scope": wanted}, format="json")

    allowed = own != Scope.READ and own.covers(wanted)
    assert answer.status_code == (201 if allowed else 403)
    assert Token.objects.count() == (2 if allowed else 1)


def test_no_token_makes_one_that_outlives_it(user: User) -> None:
    end = timezone.now() + timedelta(hours=1)
    api = client(user, expires_at=end)

    for body in ({}, {"expires_in": 7200}):
        made = api.post("/tokens/", body, format="json").json()
        assert Token.objects.get(uuid=made["id"]).expires_at == end
    made = api.post("/tokens/", {"expires_in": 60}, format="json").json()
    assert Token.objects.get(uuid=made["id"]).expires_at < end


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"scope": "root"}, "scope"),
        ({"scope": 7}, "scope"),
        ({"scope": ["read"]}, "scope"),
        ({"expires_in": 0}, "expires_in"),
        ({"expires_in": True}, "expires_in"),
        ({"expires_in": 1e300}, "expires_in"),
        ({"expires_in": "1"}, "expires_in"),
        ({"name": 7}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"user": 7}, "user"),
        ([], "object"),
    ],
)
def test_what_cannot_be_a_token_is_refused(admin: User, body: Any, field: str) -> None:
    answer = client(admin).post("/tokens/", body, format="json")

    assert answer.status_code == 400
    assert field in answer.json()["error"]["message"]
    assert Token.objects.count() == 1


def test_a_rotated_token_lives_on_for_the_overlap(user: User) -> None:
    api = client(user)
    made = api.post("/tokens/", {"name": "ci", "scope": "read"}, format="json").json()
    before = timezone.now()

    answer = api.post(
        f"/tokens/{made['id']}/rotate", {"overlap_seconds": 60}, format="json"
    )

    new = answer.json()
    assert answer.status_code == 201
    assert (new["name"], new["scope"], new["expires_at"]) == ("ci", "read", None)
    old = Token.objects.get(uuid=made["id"])
    assert timedelta(seconds=60) <= old.expires_at - before < timedelta(seconds=70)
    for token in (made["token"], new["token"]):
        api.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
        assert api.get("/tasks/").status_code == 200


def test_without_an_overlap_the_old_one_ends_at_once(user: User) -> None:
    api = client(user)
    own = api.get("/tokens/").json()["tokens"][0]["id"]

    new = api.post(
        f"/tokens/{own}/rotate", {"overlap_seconds": 0}, format="json"
    ).json()

    assert api.get("/tasks/").status_code == 401
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {new['token']}")
    assert api.get("/tasks/").status_code == 200
    # One that has ended is not renewed.
    assert api.post(f"/tokens/{own}/rotate").status_code == 400


def test_a_chain_of_rotations_ends_when_its_first_token_was_to_end(user: User) -> None:
    now = timezone.now()
    end = now + timedelta(days=90)
    token, _ = services.new_token(user, expires_at=end)

    for days in (10, 40, 80):
        token, _ = services.rotate_token(token, now=now + timedelta(days=days))
        assert token.expires_at == end

    with pytest.raises(services.AccountError, match="expired"):
        services.rotate_token(token, now=end)


def test_a_token_does_not_renew_itself(user: User) -> None:
    end = timezone.now() + timedelta(hours=1)
    api = client(user, expires_at=end)

    for _ in range(3):
        newest = api.get("/tokens/").json()["tokens"][0]["id"]
        new = api.post(f"/tokens/{newest}/rotate").json()
        api.credentials(HTTP_AUTHORIZATION=f"Bearer {new['token']}")

    assert {token.expires_at for token in Token.objects.filter(revoked_at=None)} == {
        end
    }


def test_who_rotates_a_token_gets_none_that_outlives_their_own(user: User) -> None:
    end = timezone.now() + timedelta(hours=1)
    endless, _ = services.new_token(user)
    api = client(user, expires_at=end)

    new = api.post(f"/tokens/{endless.uuid}/rotate").json()

    assert Token.objects.get(uuid=new["id"]).expires_at == end


def test_a_token_touches_none_that_may_do_more(user: User) -> None:
    strong, _ = services.new_token(user)
    api = client(user, Scope.WRITE)

    assert api.post(f"/tokens/{strong.uuid}/rotate").status_code == 403
    assert api.delete(f"/tokens/{strong.uuid}").status_code == 403
    strong.refresh_from_db()
    assert (strong.revoked_at, strong.expires_at) == (None, None)


def test_tokens_of_others_are_an_admins_to_manage(
    user: User, colleague: User, client_for: ClientFor
) -> None:
    token, clear_text = services.new_token(user, scope=Scope.READ)
    member = client_for(colleague)
    assert member.delete(f"/tokens/{token.uuid}").status_code == 404
    assert member.post("/tokens/", {"user": "ann"}, format="json").status_code == 403

    boss = client(services.change_user(colleague, role=Role.ADMIN))

    assert len(boss.get("/tokens/?owner=ann").json()["tokens"]) == 1
    issued = boss.post("/tokens/", {"user": "ann", "scope": "read"}, format="json")
    assert Token.objects.get(uuid=issued.json()["id"]).user == user
    assert boss.delete(f"/tokens/{token.uuid}").status_code == 200
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {clear_text}")
    assert api.get("/tasks/").status_code == 401


@pytest.mark.parametrize("token_id", ["7", "nonsense", str(uuid.UUID(int=7))])
def test_an_unknown_token_is_not_found(user: User, token_id: str) -> None:
    api = client(user)

    for answer in (
        api.get(f"/tokens/{token_id}"),
        api.delete(f"/tokens/{token_id}"),
        api.post(f"/tokens/{token_id}/rotate"),
    ):
        assert answer.status_code == 404
        assert answer.json() == error("Token not found")


def test_lists_come_in_pages(user: User) -> None:
    api = client(user)
    for _ in range(4):
        services.issue_token(user)

    pages, path = [], "/tokens/?limit=2"
    while path:
        answer = api.get(path)
        pages.append([token["id"] for token in answer.json()["tokens"]])
        link = answer.headers.get("Link", "")
        path = link.partition(">")[0].removeprefix("<")

    assert [len(page) for page in pages] == [2, 2, 1]
    assert len({token for page in pages for token in page}) == 5
    for query in ("limit=0", "limit=x", "cursor=x", "cursor=-1"):
        assert api.get(f"/tokens/?{query}").status_code == 400
    assert api.get(f"/tokens/?cursor={'9' * 19}").status_code == 200


# Users.


def test_an_admin_invites_and_locks_out(admin: User) -> None:
    api = client(admin)

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
def test_a_name_is_found_whatever_is_in_it(admin: User, name: str) -> None:
    api = client(admin)
    api.post("/users/", {"name": name}, format="json")

    assert api.get("/users/").json()["users"][0]["name"] == name
    if not name.endswith("/"):
        assert api.get(f"/users/{name}").json()["name"] == name


@pytest.mark.parametrize(
    "body",
    [{}, {"name": ""}, {"name": " a"}, {"name": 7}, {"name": "x" * 151}, {"name": "a\nb"},
     {"name": "a", "role": "root"}, []],
)  # fmt: skip
def test_what_cannot_be_a_user_is_refused(admin: User, body: Any) -> None:
    assert client(admin).post("/users/", body, format="json").status_code == 400
    assert User.objects.count() == 1


@pytest.mark.parametrize("body", [{"role": "member"}, {"is_active": False}])
def test_nobody_locks_out_themselves(admin: User, body: Any) -> None:
    assert client(admin).patch("/users/adam", body, format="json").status_code == 400
    admin.refresh_from_db()
    assert (admin.role, admin.is_active) == ("admin", True)


@pytest.mark.parametrize("body", [{"role": 7}, {"is_active": "no"}, {"is_active": 0}])
def test_what_a_user_cannot_become_is_refused(
    user: User, admin: User, body: Any
) -> None:
    assert client(admin).patch("/users/ann", body, format="json").status_code == 400


# Signing secrets.


def test_a_signing_secret_is_shown_once_and_both_live(admin: User) -> None:
    api = client(admin)
    now = timezone.now()
    [old] = services.live_signing_secrets(admin.tenant_id, now)

    answer = api.post("/signing-secrets/rotate/")

    new = answer.json()
    listed = api.get("/signing-secrets/")
    assert answer.status_code == 201
    assert services.live_signing_secrets(admin.tenant_id, now) == [new["secret"], old]
    assert [each["id"] for each in listed.json()["secrets"]] == [
        new["id"],
        services.fingerprint(old),
    ]
    assert all(each["is_readable"] for each in listed.json()["secrets"])
    assert "whsec_" not in listed.content.decode()


@pytest.mark.parametrize("seconds", [-1, 31 * DAY, True, "1", 1.5, 10**30])
def test_an_overlap_out_of_range_is_refused(admin: User, seconds: Any) -> None:
    answer = client(admin).post(
        "/signing-secrets/rotate/", {"overlap_seconds": seconds}, format="json"
    )

    assert answer.status_code == 400
    assert "overlap_seconds" in answer.json()["error"]["message"]
    assert SigningSecret.objects.count() == 1


def test_without_an_overlap_the_old_secret_signs_no_more(admin: User) -> None:
    answer = client(admin).post(
        "/signing-secrets/rotate/", {"overlap_seconds": 0}, format="json"
    )

    later = timezone.now()
    secrets = services.live_signing_secrets(admin.tenant_id, later)
    assert secrets == [answer.json()["secret"]]
