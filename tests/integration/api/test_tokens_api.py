"""Tokens over the API: issued, shown once, rotated, revoked, and never greater than their maker."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import services
from accounts.models import Role, Scope, Token, User
from tests.conftest import ClientFor
from tests.integration.support.tasks_surface import error
from tests.integration.support.token_clients import client_with_token

pytestmark = pytest.mark.django_db


def test_a_token_is_issued_and_shown_once(user: User) -> None:
    api = client_with_token(user)
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
    answer = client_with_token(user, own).post(
        "/tokens/", {"scope": wanted}, format="json"
    )

    allowed = own != Scope.READ and own.covers(wanted)
    assert answer.status_code == (201 if allowed else 403)
    assert Token.objects.count() == (2 if allowed else 1)


def test_no_token_makes_one_that_outlives_it(user: User) -> None:
    end = timezone.now() + timedelta(hours=1)
    api = client_with_token(user, expires_at=end)

    for body in ({}, {"expires_in": 7200}):
        made = api.post("/tokens/", body, format="json").json()
        assert Token.objects.get(uuid=made["id"]).expires_at == end
    made = api.post("/tokens/", {"expires_in": 60}, format="json").json()
    expires_at = Token.objects.get(uuid=made["id"]).expires_at
    assert expires_at is not None
    assert expires_at < end


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
def test_a_bad_token_request_is_refused(
    tenant_admin: User, body: Any, field: str
) -> None:
    answer = client_with_token(tenant_admin).post("/tokens/", body, format="json")

    assert answer.status_code == 400
    assert field in answer.json()["error"]["message"]
    assert Token.objects.count() == 1


def test_a_rotated_token_lives_on_for_the_overlap(user: User) -> None:
    api = client_with_token(user)
    made = api.post("/tokens/", {"name": "ci", "scope": "read"}, format="json").json()
    before = timezone.now()

    answer = api.post(
        f"/tokens/{made['id']}/rotate", {"overlap_seconds": 60}, format="json"
    )

    new = answer.json()
    assert answer.status_code == 201
    assert (new["name"], new["scope"], new["expires_at"]) == ("ci", "read", None)
    old = Token.objects.get(uuid=made["id"])
    assert old.expires_at is not None
    assert timedelta(seconds=60) <= old.expires_at - before < timedelta(seconds=70)
    for token in (made["token"], new["token"]):
        api.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
        assert api.get("/tasks/").status_code == 200


def test_without_an_overlap_the_old_one_ends_at_once(user: User) -> None:
    api = client_with_token(user)
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
    token, _ = services.create_token(user, expires_at=end)

    for days in (10, 40, 80):
        token, _ = services.rotate_token(token, now=now + timedelta(days=days))
        assert token.expires_at == end

    with pytest.raises(services.AccountError, match="expired"):
        services.rotate_token(token, now=end)


def test_a_token_does_not_renew_itself(user: User) -> None:
    end = timezone.now() + timedelta(hours=1)
    api = client_with_token(user, expires_at=end)

    for _ in range(3):
        newest = api.get("/tokens/").json()["tokens"][0]["id"]
        new = api.post(f"/tokens/{newest}/rotate").json()
        api.credentials(HTTP_AUTHORIZATION=f"Bearer {new['token']}")

    assert {token.expires_at for token in Token.objects.filter(revoked_at=None)} == {
        end
    }


def test_a_rotation_makes_no_token_that_outlives_the_callers_own(user: User) -> None:
    end = timezone.now() + timedelta(hours=1)
    endless, _ = services.create_token(user)
    api = client_with_token(user, expires_at=end)

    new = api.post(f"/tokens/{endless.uuid}/rotate").json()

    assert Token.objects.get(uuid=new["id"]).expires_at == end


def test_a_token_touches_none_that_may_do_more(user: User) -> None:
    strong, _ = services.create_token(user)
    api = client_with_token(user, Scope.WRITE)

    assert api.post(f"/tokens/{strong.uuid}/rotate").status_code == 403
    assert api.delete(f"/tokens/{strong.uuid}").status_code == 403
    strong.refresh_from_db()
    assert (strong.revoked_at, strong.expires_at) == (None, None)


def test_tokens_of_others_are_an_admins_to_manage(
    user: User, colleague: User, client_for: ClientFor
) -> None:
    token, clear_text = services.create_token(user, scope=Scope.READ)
    member = client_for(colleague)
    assert member.delete(f"/tokens/{token.uuid}").status_code == 404
    assert member.post("/tokens/", {"user": "ann"}, format="json").status_code == 403

    boss = client_with_token(services.change_user(colleague, role=Role.ADMIN))

    assert len(boss.get("/tokens/?owner=ann").json()["tokens"]) == 1
    issued = boss.post("/tokens/", {"user": "ann", "scope": "read"}, format="json")
    assert Token.objects.get(uuid=issued.json()["id"]).user == user
    assert boss.delete(f"/tokens/{token.uuid}").status_code == 200
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {clear_text}")
    assert api.get("/tasks/").status_code == 401


@pytest.mark.parametrize("token_id", ["7", "nonsense", str(uuid.UUID(int=7))])
def test_an_unknown_token_is_not_found(user: User, token_id: str) -> None:
    api = client_with_token(user)

    for answer in (
        api.get(f"/tokens/{token_id}"),
        api.delete(f"/tokens/{token_id}"),
        api.post(f"/tokens/{token_id}/rotate"),
    ):
        assert answer.status_code == 404
        assert answer.json() == error("Token not found")


def test_lists_come_in_pages(user: User) -> None:
    api = client_with_token(user)
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
