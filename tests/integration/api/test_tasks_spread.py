"""Tasks that spread their fire times keep their place in the spread."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from tasks_api.api.tasks.parsing import read_task
from tasks_api.domain.schedules import Interval
from tasks_api.models import Task
from tasks_api.services import tasks
from tasks_api.storage import task_rows
from tests.integration.support.tasks_surface import (
    PERIODIC,
    START,
    created,
)

pytestmark = pytest.mark.django_db


def test_the_next_run_is_shown_with_its_spread_and_the_grid_without(
    api: APIClient,
) -> None:
    task = created(api, {**PERIODIC, "spread": 3600})

    stored = Task.objects.with_schedule().get(pk=task["id"])
    offset = timedelta(seconds=stored.spread_offset)
    assert stored.next_fire_at == START + offset
    assert task["start_datetime"] == "2090-12-05 08:00:00"
    assert task["end_datetime"] == "2091-01-05 08:00:00"
    assert task["next_run_datetime"] == f"{START + offset:%Y-%m-%d %H:%M:%S}"


def test_a_spread_outlives_pause_and_resume(api: APIClient) -> None:
    task = created(api, {**PERIODIC, "spread": 3600})

    api.post(f"/tasks/{task['id']}/pause/")
    api.post(f"/tasks/{task['id']}/resume/")

    assert api.get(f"/tasks/{task['id']}").json() == task


def test_a_replaced_task_keeps_its_place_in_the_spread(user: User) -> None:
    now = timezone.now()
    hour = timedelta(hours=1)
    spec = read_task({**PERIODIC, "spread": 3600}, now=now)
    task = tasks.create_task(user, spec, now=now)
    stored = Task.objects.with_schedule().get(pk=task.pk)
    unchanged = task_rows.replace_task(stored, replace(spec, body="[]"), user, now=now)
    moved = task_rows.replace_task(
        stored, replace(spec, schedule=Interval(now + hour, 2 * hour)), user, now=now
    )

    fresh = Task.objects.get(pk=task.pk)
    assert (unchanged, moved) == (False, True)
    assert fresh.spread_offset == task.spread_offset
    assert fresh.next_fire_at == now + hour + timedelta(seconds=task.spread_offset)
