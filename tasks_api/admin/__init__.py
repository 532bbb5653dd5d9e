"""The Django admin for operators: it shows rows, and its actions call `services`.

No rule of the service lives here, and nothing here writes a task's rows by itself.
"""

from __future__ import annotations

from tasks_api.admin import (
    cells,
    channels,
    gaps,
    lanes,
    rollups,
    runs,
    schedules,
    tasks,
    tenants,
)

__all__ = [
    "cells",
    "channels",
    "gaps",
    "lanes",
    "rollups",
    "runs",
    "schedules",
    "tasks",
    "tenants",
]
