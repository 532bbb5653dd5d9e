"""The routes of the service by who may call them, read from the URLconf."""

from __future__ import annotations

from datetime import timedelta

from django.urls import URLPattern, get_resolver, reverse

from tasks_api.domain.ids import id_for
from tasks_api.domain.specs import Surface
from tasks_api.domain.states import RunState
from tasks_api.models import Run, Task

METHODS = ["get", "post", "put", "patch", "delete", "head", "options"]


# Open to everybody, without a token.
PUBLIC = {"healthz", "readyz", "openapi", "docs", "health", "health-v1"}


# Each caller's own: what others have is not in the answer.
OWN_LISTS = {
    "tasks": {"count": 0, "tasks": []},
    "runs": {"runs": [], "next_cursor": None},
    "queues": {"queues": [], "next_cursor": None},
}


# Work on the caller's own, whatever the body says.
OWN_ONLY = {"apply-tasks", "preview-task", "redrive-runs", "cancel-runs"}
OWN_ONLY |= {"change-tasks"}
OWN_ONLY |= {"usage", "stats", "forecast", "tenant-account"}


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


# Name a queue, which each tenant has to itself; test_queues_api.py says what others reach.
NAMING |= {"queue-messages", "requeue-exhausted", "purge-queue"}


# What a tenant manages of itself; test_access.py says what outsiders reach.
ACCESS = {
    "tokens",
    "token",
    "rotate-token",
    "renew-token",
    "users",
    "user",
    "audit",
    "transfer-tasks",
}


ACCESS |= {"signing-secrets", "rotate-signing-secret"}


# The same; test_channels_api.py says it.
ACCESS |= {"channels", "channel", "test-channel", "rules", "rule"}


# The same; test_calendars_api.py says it.
ACCESS |= {"calendars", "calendar", "calendar-versions", "calendar-days"}


ACCESS |= {"import-calendar", "preview-calendar"}
# The same; test_lanes_api.py says it.
ACCESS |= {"lanes", "lane", "pause-lane", "resume-lane"}
ACCESS |= {"lane-forecast"}


# Who calls is known by another header than the bearer token.
SHARED_SECRET = {"insert-timer", "delete-timer", "replace-crons"}


# For who operates the service, who comes with METRICS_TOKEN.
OPERATORS = {"metrics"}


# For staff, who come with a session.
STAFF = {"admin", "cells"}


# What stands in a path, and which surface's task it is the id of.
SURFACE_OF_ID = {
    "task_id": Surface.TASKS,
    "job_id": Surface.REST_JOBS,
    "run_id": Surface.TASKS,
    "name": Surface.TASKS,
}


# About runs that are not over: their targets are at work on them.
OPEN_RUNS = {"complete-run", "fail-run", "heartbeat-run", "cancel-run"}


def all_routes() -> list[URLPattern]:
    found = get_resolver().url_patterns
    return [route for route in found if isinstance(route, URLPattern)]


def arguments_of(route: URLPattern) -> set[str]:
    return set(route.pattern.converters) | set(route.pattern.regex.groupindex)


def detail_routes() -> list[URLPattern]:
    found = [route for route in all_routes() if route.name not in ACCESS]
    return [route for route in found if arguments_of(route)]


def closed_routes() -> list[URLPattern]:
    return [
        route for route in all_routes() if route.name not in PUBLIC | STAFF | OPERATORS
    ]


def surface_of(route: URLPattern) -> Surface:
    found = (
        SURFACE_OF_ID[name] for name in arguments_of(route) if name in SURFACE_OF_ID
    )
    return next(found, Surface.TASKS)


def path_of(route: URLPattern, task: Task) -> str:
    ids = {name: str(task.pk) for name in arguments_of(route)}
    if "run_id" in ids:
        run = store_failed_run(task)
        ids["run_id"] = str(run.pk)
        if route.name in OPEN_RUNS:
            deadline = run.scheduled_for + timedelta(hours=1)
            runs = Run.objects.filter(pk=run.pk)
            runs.update(state="open", wake_at=deadline, finished_at=None)
    if "name" in ids:
        ids["name"] = task.name
    return reverse(str(route.name), kwargs=ids)


def store_failed_run(task: Task) -> Run:
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


def name_of(route: URLPattern) -> str:
    return str(route.name)
