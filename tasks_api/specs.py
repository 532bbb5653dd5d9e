"""What every wire format must produce before the core makes a task of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tasks_api.schedules import Interval, Once


class Surface(StrEnum):
    """The wire format through which a task came."""

    TASKS = "tasks"


@dataclass(frozen=True)
class TaskSpec:
    """A task as its owner wants it: the request, and when it is sent.

    `body` is the JSON text that the target receives, byte for byte.
    """

    surface: Surface
    url: str
    schedule: Interval | Once
    body: str
    method: str = "POST"
