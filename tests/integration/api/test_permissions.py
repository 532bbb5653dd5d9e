"""Who may call what: every URL, by each scope and each role, against the docs' table."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from django.urls import URLPattern, reverse
from rest_framework.test import APIClient

from accounts import services
from accounts.models import Role, Scope, User
from tests.conftest import MakeTask
from tests.integration.support.routes import (
    OPERATORS,
    PUBLIC,
    SHARED_SECRET,
    STAFF,
    all_routes,
    arguments_of,
    name_of,
    surface_of,
)

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "access.md"
ROW = re.compile(
    r"^\| `([A-Z]+) (/[^`]*)` \| `(read|write|admin)` \| (any|admin) \|", re.MULTILINE
)
# Asked for with a token, but not by one of a tenant's scopes.
OTHERWISE = PUBLIC | STAFF | OPERATORS | SHARED_SECRET
READING = {"GET", "HEAD", "OPTIONS"}
METHODS = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]


def exceptions() -> dict[tuple[str, str], tuple[str, str]]:
    """Of the docs' table: (method, path without a slash at its end) → scope and role."""
    text = PAGE.read_text(encoding="utf-8")
    return {
        (method, path): (scope, role) for method, path, scope, role in ROW.findall(text)
    }


EXCEPTIONS = exceptions()


def path_as_documented(route: URLPattern) -> str:
    kwargs = {name: f"({name})" for name in arguments_of(route)}
    path = reverse(str(route.name), kwargs=kwargs).removesuffix("/")
    return re.sub(r"\((\w+)\)", r"{\1}", path).removeprefix("/v1") or "/"


def scoped_routes() -> list[URLPattern]:
    return [route for route in all_routes() if route.name not in OTHERWISE]


def required_access(route: URLPattern, method: str) -> tuple[str, str]:
    path = path_as_documented(route)
    roles = {role for (_, other), (_, role) in EXCEPTIONS.items() if other == path}
    if roles == {"admin"}:
        # Of what is for administrators alone nobody else learns more than that.
        return Scope.ADMIN, Role.ADMIN
    default = Scope.READ if method in READING else Scope.WRITE
    asked = "GET" if method == "HEAD" else method
    return EXCEPTIONS.get((asked, path), (default, "any"))


def is_refused(role: Role, scope: Scope, wanted_role: str) -> bool:
    """Whether the role does not suffice, whatever the scope of the token is."""
    changes = scope != Scope.READ
    return wanted_role == Role.ADMIN != role or (role == Role.VIEWER and changes)


@pytest.mark.django_db
@pytest.mark.parametrize("route", scoped_routes(), ids=name_of)
def test_a_call_takes_the_scope_and_the_role_that_the_docs_say(
    user: User, make_task: MakeTask, route: URLPattern
) -> None:
    task = make_task(surface=surface_of(route))
    path = reverse(name_of(route), kwargs=dict.fromkeys(arguments_of(route), task.pk))
    tokens = {scope: services.issue_token(user, scope=scope) for scope in Scope}

    for role, given, method in itertools.product(Role, Scope, METHODS):
        User.objects.filter(pk=user.pk).update(role=role)
        api = APIClient(raise_request_exception=False)
        header = f"Bearer {tokens[given]}"
        answer = api.generic(method, path, "{}", HTTP_AUTHORIZATION=header)

        scope, wanted_role = required_access(route, method)
        if not given.covers(Scope(scope)):
            sentence = f"This takes a token of scope {scope}, and yours is {given}"
            assert answer.status_code == 403, (method, role, given)
            assert method == "HEAD" or sentence in answer.content.decode()
        elif is_refused(role, Scope(scope), wanted_role):
            assert answer.status_code == 403, (method, role, given)
        else:
            assert answer.status_code not in (401, 403, 500), (method, role, given)


def test_the_table_names_requests_that_there_are() -> None:
    known = {path_as_documented(route) for route in all_routes()}

    assert EXCEPTIONS
    assert {path for _, path in EXCEPTIONS} <= known
