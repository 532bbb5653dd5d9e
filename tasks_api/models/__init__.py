"""The models: tasks, runs, lanes, calendars, messages, channels; QuerySets and constraints.

A model has rules about a single row. A function that touches two models is in
`services`.
"""

from __future__ import annotations

from tasks_api.models.bookkeeping import (
    Heartbeat,
    HeartbeatGap,
    IdempotencyKey,
    RunIdKey,
)
from tasks_api.models.calendars import Calendar, CalendarVersion
from tasks_api.models.channels import (
    Channel,
    FailingTask,
    NotificationRule,
    PendingNotice,
)
from tasks_api.models.lanes import Lane, LaneCeiling
from tasks_api.models.messages import Message, QueueTally
from tasks_api.models.quotas import BoundedStart, DayCount
from tasks_api.models.rollups import (
    HourRollup,
    LateRun,
    ReopenedHours,
    RollupProgress,
    RollupSearch,
)
from tasks_api.models.runs import Attempt, FurtherAttempt, Run
from tasks_api.models.schedule_changes import ScheduleChange
from tasks_api.models.task_tags import TaskTag
from tasks_api.models.task_tallies import TaskTally
from tasks_api.models.tasks import Task, TaskQuerySet

__all__ = [
    "Attempt",
    "BoundedStart",
    "Calendar",
    "CalendarVersion",
    "Channel",
    "DayCount",
    "FailingTask",
    "FurtherAttempt",
    "Heartbeat",
    "HeartbeatGap",
    "HourRollup",
    "IdempotencyKey",
    "Lane",
    "LaneCeiling",
    "LateRun",
    "Message",
    "NotificationRule",
    "PendingNotice",
    "QueueTally",
    "ReopenedHours",
    "RollupProgress",
    "RollupSearch",
    "Run",
    "RunIdKey",
    "ScheduleChange",
    "Task",
    "TaskQuerySet",
    "TaskTag",
    "TaskTally",
]
