"""A task as its client wants it, beside the one that is stored."""

from __future__ import annotations

from typing import NamedTuple

from tasks_api.domain.specs import TaskSpec
from tasks_api.models import Task


class Wanted(NamedTuple):
    """A task as its client wants it, and the stored task that it changes, if any."""

    spec: TaskSpec
    task: Task | None = None
