"""What strangers see: every URL of the service, called by those it is not for.

The URLs are read from the URLconf, so a new one is covered by existing; until it stands
in one of the tables below, these tests fail.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from rest_framework.test import APIClient

from accounts.models import User
from tasks_api.models import Run, Task
from tests.conftest import ClientFor, MakeTask
from tests.integration.support.routes import (
    ACCESS,
    BULK,
    METHODS,
    NAMING,
    OPERATORS,
    OWN_LISTS,
    OWN_ONLY,
    PUBLIC,
    SHARED_SECRET,
    STAFF,
    SURFACE_OF_ID,
    all_routes,
    arguments_of,
    closed_routes,
    detail_routes,
    name_of,
    path_of,
    store_failed_run,
    surface_of,
)

ADMIN_ARGUMENTS = {
    "app_label": "tasks_api",
    "content_type_id": "1",
    "id": "1",
    "object_id": "1",
    "url": "x",
}


# The pages that let people in and out, and the words of their scripts.
ADMIN_DOORS = {"login", "logout", "jsi18n"}


def admin_routes() -> list[URLPattern]:
    found = get_resolver().url_patterns
    resolvers = [
        entry
        for entry in found
        if isinstance(entry, URLResolver) and entry.namespace == "admin"
    ]
    return [route for resolver in resolvers for route in _walk(resolver)]


def _walk(resolver: URLResolver) -> Iterator[URLPattern]:
    for entry in resolver.url_patterns:
        if isinstance(entry, URLResolver):
            yield from _walk(entry)
        else:
            yield entry


def test_every_route_has_an_expectation() -> None:
    details = {name_of(route) for route in detail_routes()}

    assert (
        {name_of(route) for route in all_routes()}
        == PUBLIC
        | STAFF
        | OPERATORS
        | BULK
        | NAMING
        | ACCESS
        | OWN_ONLY
        | OWN_LISTS.keys()
        | details
    )
    assert all(arguments_of(route) <= SURFACE_OF_ID.keys() for route in detail_routes())


@pytest.mark.parametrize("route", closed_routes(), ids=name_of)
def test_a_call_without_a_token_is_refused(
    make_task: MakeTask, route: URLPattern
) -> None:
    task = make_task(surface=surface_of(route), name="a name")
    path, nobody = path_of(route, task), APIClient()

    answers = {
        method: getattr(nobody, method)(path, {}, format="json") for method in METHODS
    }

    challenge = "Scheduler-Secret" if route.name in SHARED_SECRET else "Bearer"
    for method, answer in answers.items():
        assert answer.status_code == 401, method
        assert answer["WWW-Authenticate"] == challenge, method
        assert str(task.pk).encode() not in answer.content, method


@pytest.fixture(params=["colleague", "stranger"])
def outsider(request: pytest.FixtureRequest, client_for: ClientFor) -> APIClient:
    """Another user of the same tenant, and one of another."""
    return client_for(request.getfixturevalue(request.param))


@pytest.mark.parametrize("route", detail_routes(), ids=name_of)
def test_an_outsider_does_not_reach_a_task(
    make_task: MakeTask, outsider: APIClient, route: URLPattern
) -> None:
    task = make_task(surface=surface_of(route), name="a name")
    path, before = path_of(route, task), task_state(task)

    for method in METHODS:
        answer = getattr(outsider, method)(path, {}, format="json")

        # OPTIONS tells the methods of an endpoint, whichever id stands in its path.
        expected = {200} if method == "options" else refusals(route)
        assert answer.status_code in expected, method
        assert task.url.encode() not in answer.content, method
        assert task_state(task) == before, method


def refusals(route: URLPattern) -> set[int]:
    # A name is free in another tenant, where an empty body makes no task.
    return {403, 404, 405} | ({400} if route.name == "named-task" else set())


@pytest.mark.parametrize("route", detail_routes(), ids=name_of)
def test_the_owner_reaches_the_task(
    user: User, client_for: ClientFor, make_task: MakeTask, route: URLPattern
) -> None:
    task = make_task(surface=surface_of(route), name="a name")
    path, owner = path_of(route, task), client_for(user)

    statuses = {getattr(owner, method)(path).status_code for method in ("get", "post")}

    assert statuses & {200, 202}


@pytest.mark.parametrize("name", sorted(OWN_LISTS))
def test_an_outsider_sees_only_own_rows(
    make_task: MakeTask, outsider: APIClient, name: str
) -> None:
    store_failed_run(make_task())

    assert outsider.get(reverse(name)).json() == OWN_LISTS[name]


@pytest.mark.parametrize("name", sorted(BULK))
def test_an_outsider_changes_nothing_in_bulk(
    make_task: MakeTask, outsider: APIClient, name: str
) -> None:
    task = make_task()
    before = task_state(task)

    body = {"ids": [str(task.pk)]}
    answer = outsider.post(reverse(name), body, format="json")

    assert answer.status_code == 403
    assert task_state(task) == before


def task_state(task: Task) -> tuple[Any, ...]:
    row = Task.objects.select_related("periodic_task").get(pk=task.pk)
    runs = Run.objects.filter(task=task, by_hand=True).count()
    return row.next_fire_at, row.ended_at, row.url, row.periodic_task.enabled, runs


@pytest.mark.parametrize("name", sorted(PUBLIC))
@pytest.mark.django_db
def test_a_public_route_needs_no_token(name: str) -> None:
    assert APIClient().get(reverse(name)).status_code == 200


def admin_path(route: URLPattern) -> str:
    kwargs = {name: ADMIN_ARGUMENTS[name] for name in arguments_of(route)}
    # The last one has no name: it catches what the others do not.
    return reverse(f"admin:{route.name}", kwargs=kwargs) if route.name else "/admin/x"


ADMIN = ["/admin"] + [
    admin_path(route) for route in admin_routes() if route.name not in ADMIN_DOORS
]


def test_the_admin_is_for_staff(user: User, client_for: ClientFor) -> None:
    # With a token, which lets nobody in here.
    api = client_for(user)

    for path in ADMIN:
        for answer in (api.get(path), api.post(path)):
            assert answer.status_code == 302, path
            assert answer["Location"].startswith("/admin/login/"), path


@pytest.mark.parametrize("path", ["/admin", "/admin/"])
def test_staff_come_in_without_a_redirect(user: User, path: str) -> None:
    User.objects.filter(pk=user.pk).update(is_staff=True)
    browser = Client()
    browser.force_login(User.objects.get(pk=user.pk))

    assert browser.get(path).status_code == 200
