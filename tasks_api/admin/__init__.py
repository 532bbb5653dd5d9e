"""The Django admin, for operators: what is stored, and buttons that call the core's verbs.

No rule of the service lives here, and nothing here writes a task's rows by itself.
"""

from __future__ import annotations

from tasks_api.admin import runs, schedules, tasks

__all__ = ["runs", "schedules", "tasks"]
