"""What became of the fire times of a task that have passed."""

from __future__ import annotations

from collections import Counter

from django.utils import timezone

from tasks_api.models import Run, Task
from tasks_api.services.reconciliation import reconcile
from tests.integration.support.stored_tasks import HOUR


def states(task: Task) -> Counter[str]:
    return Counter(Run.objects.filter(task=task).values_list("state", flat=True))


def assert_balanced(task: Task, planned: int) -> None:
    """Each of so many fire times has exactly one run, in the last 20 hours."""
    found = reconcile(task.owner, task.pk, since=timezone.now() - 20 * HOUR, until=None)
    assert (found.balance, found.differences) == (0, [])
    assert found.planned == planned
