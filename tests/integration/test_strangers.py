"""What strangers see: every URL of the service, called by those it is not for.

The URLs are read from the URLconf, so a new one is covered by existing; until it stands
in one of the tables below, these tests fail.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from rest_framework.test import APIClient

from accounts.models import User
from tasks_api.domain.ids import id_for
from tasks_api.domain.specs import Surface
from tasks_api.domain.states import RunState
from tasks_api.models import Run, Task
from tests.conftest import ClientFor, MakeTask

METHODS = ["get", "post", "put", "patch", "delete", "head", "options"]

# Open to everybody, without a token.
PUBLIC = {"healthz", "readyz", "openapi", "docs", "health", "health-v1"}
# Each caller's own: what others have is not in the answer.
OWN = {
    "tasks": {"count": 0, "tasks": []},
    "runs": {"runs": [], "next_cursor": None},
}
# Work on the caller's own, whatever the body says.
SELFISH = {"apply-tasks", "preview-task", "redrive-runs"}
# Take ids in the body.
BULK = {"pause-tasks", "resume-tasks"}
# Make rows, or name theirs in the body or in the query, by ids that each tenant has to itself;
# the tests of each format say what outsiders reach.
NAMING = {
    "cron-jobs",
    "create-tasks",
    "insert-timer",
    "delete-timer",
    "replace-crons",
    "rest-jobs",
}
NAMING |= {
    f"{name}{version}"
    for name in (
        "enqueue-job",
        "enqueue-jobs",
        "next-jobs",
        "extend-job",
        "reschedule-job",
        "complete-job",
    )
    for version in ("", "-v1")
}
# What a tenant manages of itself; test_access.py says what outsiders reach.
ACCESS = {"tokens", "token", "rotate-token", "users", "user", "audit", "transfer-tasks"}
ACCESS |= {"signing-secrets", "rotate-signing-secret"}
# Who calls is known by another header than the bearer token.
SECRETIVE = {"insert-timer", "delete-timer", "replace-crons"}
# For who operates the service, who comes with METRICS_TOKEN.
OPERATORS = {"metrics"}
# For staff, who come with a session.
STAFF = {"admin"}
# What stands in a path, and which surface's task it is the id of.
IDS = {
    "task_id": Surface.TASKS,
    "job_id": Surface.REST_JOBS,
    "run_id": Surface.TASKS,
    "name": Surface.TASKS,
}

# About runs whose targets are at work on them.
WORK = {"complete-run", "fail-run", "heartbeat-run"}

ADMIN_ARGUMENTS = {
    "app_label": "tasks_api",
    "content_type_id": "1",
    "id": "1",
    "object_id": "1",
    "url": "x",
}
# The pages that let people in and out, and the words of their scripts.
ADMIN_DOORS = {"login", "logout", "jsi18n"}


def routes() -> list[URLPattern]:
    found = get_resolver().url_patterns
    return [route for route in found if isinstance(route, URLPattern)]


def arguments_of(route: URLPattern) -> set[str]:
    return set(route.pattern.converters) | set(route.pattern.regex.groupindex)


def detail_routes() -> list[URLPattern]:
    found = [route for route in routes() if route.name not in ACCESS]
    return [route for route in found if arguments_of(route)]


def closed_routes() -> list[URLPattern]:
    return [route for route in routes() if route.name not in PUBLIC | STAFF | OPERATORS]


def surface_of(route: URLPattern) -> Surface:
    found = (IDS[name] for name in arguments_of(route) if name in IDS)
    return next(found, Surface.TASKS)


def path_of(route: URLPattern, task: Task) -> str:
    ids = {name: str(task.pk) for name in arguments_of(route)}
    if "run_id" in ids:
        run = failed_run_of(task)
        ids["run_id"] = str(run.pk)
        if route.name in WORK:
            deadline = run.scheduled_for + timedelta(hours=1)
            runs = Run.objects.filter(pk=run.pk)
            runs.update(state="open", wake_at=deadline, finished_at=None)
    if "name" in ids:
        ids["name"] = task.name
    return reverse(str(route.name), kwargs=ids)


def failed_run_of(task: Task) -> Run:
    run, _ = Run.objects.get_or_create(
        task=task,
        state=RunState.FAILED,
        defaults={
            "id": id_for(task.created_at, task.tenant_id),
            "tenant_id": task.tenant_id,
            "scheduled_for": task.created_at,
            "finished_at": task.created_at,
        },
    )
    return run


def admin_routes() -> list[URLPattern]:
    found = get_resolver().url_patterns
    resolvers = [entry for entry in found if isinstance(entry, URLResolver)]
    return [route for resolver in resolvers for route in _walk(resolver)]


def _walk(resolver: URLResolver) -> Iterator[URLPattern]:
    for entry in resolver.url_patterns:
        if isinstance(entry, URLResolver):
            yield from _walk(entry)
        else:
            yield entry


def named(route: URLPattern) -> str:
    return str(route.name)


def test_every_route_has_an_expectation() -> None:
    details = {named(route) for route in detail_routes()}

    assert (
        {named(route) for route in routes()}
        == PUBLIC
        | STAFF
        | OPERATORS
        | BULK
        | NAMING
        | ACCESS
        | SELFISH
        | OWN.keys()
        | details
    )
    assert all(arguments_of(route) <= IDS.keys() for route in detail_routes())


@pytest.mark.parametrize("route", closed_routes(), ids=named)
@pytest.mark.parametrize("method", METHODS)
def test_nobody_gets_nothing(
    make_task: MakeTask, route: URLPattern, method: str
) -> None:
    task = make_task(surface=surface_of(route), name="a name")

    answer = getattr(APIClient(), method)(path_of(route, task), {}, format="json")

    challenge = "Scheduler-Secret" if route.name in SECRETIVE else "Bearer"
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == challenge
    assert str(task.pk).encode() not in answer.content


@pytest.fixture(params=["colleague", "stranger"])
def outsider(request: pytest.FixtureRequest, client_for: ClientFor) -> APIClient:
    """Another user of the same tenant, and one of another."""
    return client_for(request.getfixturevalue(request.param))


@pytest.mark.parametrize("route", detail_routes(), ids=named)
@pytest.mark.parametrize("method", METHODS)
def test_an_outsider_does_not_reach_a_task(
    make_task: MakeTask, outsider: APIClient, route: URLPattern, method: str
) -> None:
    task = make_task(surface=surface_of(route), name="a name")
    before = state_of(task)

    answer = getattr(outsider, method)(path_of(route, task), {}, format="json")

    # OPTIONS tells the methods of an endpoint, whichever id stands in its path.
    assert answer.status_code in ((200,) if method == "options" else refusals(route))
    assert task.url.encode() not in answer.content
    assert state_of(task) == before


def refusals(route: URLPattern) -> set[int]:
    # A name is free in another tenant, where an empty body makes no task.
    return {403, 404, 405} | ({400} if route.name == "named-task" else set())


@pytest.mark.parametrize("route", detail_routes(), ids=named)
def test_the_owner_does_reach_it(
    user: User, client_for: ClientFor, make_task: MakeTask, route: URLPattern
) -> None:
    task = make_task(surface=surface_of(route), name="a name")
    path, owner = path_of(route, task), client_for(user)

    statuses = {getattr(owner, method)(path).status_code for method in ("get", "post")}

    assert statuses & {200, 202}


@pytest.mark.parametrize("name", sorted(OWN))
def test_an_outsider_sees_only_what_is_his_own(
    make_task: MakeTask, outsider: APIClient, name: str
) -> None:
    failed_run_of(make_task())

    assert outsider.get(reverse(name)).json() == OWN[name]


@pytest.mark.parametrize("name", sorted(BULK))
def test_an_outsider_changes_nothing_in_bulk(
    make_task: MakeTask, outsider: APIClient, name: str
) -> None:
    task = make_task()
    before = state_of(task)

    body = {"ids": [str(task.pk)]}
    answer = outsider.post(reverse(name), body, format="json")

    assert answer.status_code == 403
    assert state_of(task) == before


def state_of(task: Task) -> tuple[Any, ...]:
    row = Task.objects.select_related("periodic_task").get(pk=task.pk)
    runs = Run.objects.filter(task=task, by_hand=True).count()
    return row.next_fire_at, row.ended_at, row.url, row.periodic_task.enabled, runs


@pytest.mark.parametrize("name", sorted(PUBLIC))
@pytest.mark.django_db
def test_what_is_public_needs_no_token(name: str) -> None:
    assert APIClient().get(reverse(name)).status_code == 200


def admin_path(route: URLPattern) -> str:
    kwargs = {name: ADMIN_ARGUMENTS[name] for name in arguments_of(route)}
    # The last one has no name: it catches what the others do not.
    return reverse(f"admin:{route.name}", kwargs=kwargs) if route.name else "/admin/x"


ADMIN = ["/admin"] + [
    admin_path(route) for route in admin_routes() if route.name not in ADMIN_DOORS
]


@pytest.mark.parametrize("path", ADMIN)
@pytest.mark.parametrize("method", ["get", "post"])
def test_the_admin_is_for_staff(
    user: User, client_for: ClientFor, path: str, method: str
) -> None:
    # With a token, which lets nobody in here.
    answer = getattr(client_for(user), method)(path)

    assert answer.status_code == 302
    assert answer["Location"].startswith("/admin/login/")


@pytest.mark.parametrize("path", ["/admin", "/admin/"])
def test_staff_come_in_without_a_redirect(user: User, path: str) -> None:
    User.objects.filter(pk=user.pk).update(is_staff=True)
    browser = Client()
    browser.force_login(User.objects.get(pk=user.pk))

    assert browser.get(path).status_code == 200
