"""A bearer token opens the API, and whatever else is sent does not."""

from __future__ import annotations

import base64
from uuid import uuid4

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from accounts import services
from accounts.models import Token, User

pytestmark = pytest.mark.django_db


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_read_in_any_case(user: User, scheme: str) -> None:
    header = f"{scheme} {services.issue_token(user)}"

    answer = APIClient().get("/tasks/", HTTP_AUTHORIZATION=header)

    assert answer.status_code == 200


def test_several_spaces_before_a_credential_are_one(user: User) -> None:
    token = services.issue_token(user)

    for header in (f"Bearer   {token}", basic("any", token).replace(" ", "   ")):
        answer = APIClient().get("/tasks/", HTTP_AUTHORIZATION=header)
        assert answer.status_code == 200


def test_several_spaces_before_the_token_of_a_run_are_one(user: User) -> None:
    path = f"/runs/{uuid4()}/heartbeat/"

    answer = APIClient().post(path, HTTP_AUTHORIZATION="Bearer   srt_of_nothing")

    # A user's token that is none would be answered with 401.
    assert answer.status_code == 403


@pytest.mark.parametrize("name", ["", "anybody"])
def test_basic_with_the_token_as_password_is_the_same_credential(
    user: User, name: str
) -> None:
    header = basic(name, services.issue_token(user))

    answer = APIClient().get("/tasks/", HTTP_AUTHORIZATION=header)

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer sch_unknown",
        "Bearer two words",
        "Token sch_unknown",
        "Bearer \xff\xfe",
        "Bearer \0",
        "Basic",
        "Basic !!!",
        "Basic c2No",
        "Basic " + "x" * 10_000,
        "Digest username=x",
    ],
)
def test_anything_else_is_answered_401_with_a_challenge(
    user: User, header: str
) -> None:
    answer = APIClient().get("/tasks/", HTTP_AUTHORIZATION=header)

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json() == {"error": {"message": "User not authorized"}}


def test_a_token_in_the_query_string_opens_nothing(user: User) -> None:
    token = services.issue_token(user)

    for name in ("token", "access_token", "authorization"):
        assert APIClient().get("/tasks/", {name: token}).status_code == 401


def test_staff_without_a_tenant_have_no_tasks_to_ask_for() -> None:
    staff = User.objects.create_superuser("root", password="x")
    token = services.issue_token(staff)

    answer = APIClient().get("/tasks/", HTTP_AUTHORIZATION=f"Bearer {token}")

    assert answer.status_code == 401


def test_a_token_is_looked_up_in_one_query_and_its_use_noted_seldom(
    user: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    header = f"Bearer {services.issue_token(user)}"
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=header)
    api.get("/tasks/nonsense")
    used_at = Token.objects.get().last_used_at
    assert used_at is not None
    assert used_at <= timezone.now()

    # The token, and nothing else: the id is none.
    with django_assert_num_queries(1):
        api.get("/tasks/nonsense")
