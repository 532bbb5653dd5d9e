"""Tasks that the API made and that are due, and the keys that seal them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import LazySettings
from django.utils import timezone
from rest_framework.test import APIClient

from tasks_api.models import Task


def create_due_task(api: APIClient, url: str, **given: Any) -> Task:
    """A task whose first fire time is now."""
    soon = timezone.now() + timedelta(minutes=1)
    body: dict[str, Any] = {
        "task_type": "one_time",
        "run_datetime": soon.isoformat(),
        "url": url,
    }
    if given.pop("is_periodic", False):
        end = soon + timedelta(days=1)
        body |= {"task_type": "periodic", "frequency": 3600}
        body |= {"start_datetime": soon.isoformat(), "end_datetime": end.isoformat()}
    answer = api.post("/tasks/", {**body, **given}, format="json")
    assert answer.status_code == 201, answer.json()
    task = Task.objects.get(pk=answer.json()["id"])
    Task.objects.filter(pk=task.pk).update(next_fire_at=timezone.now())
    return task


def use_secret_keys(settings: LazySettings, key: str, fallbacks: list[str]) -> None:
    settings.SECRET_KEY = key
    settings.SECRET_KEY_FALLBACKS = fallbacks
