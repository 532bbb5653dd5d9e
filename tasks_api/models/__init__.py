"""The models: tasks, runs, lanes, messages, channels, bookkeeping; QuerySets and constraints.

A model has rules about a single row. A function that touches two models is in
`services`.
"""

from __future__ import annotations

from tasks_api.models.bookkeeping import Heartbeat, IdempotencyKey, RunIdKey
from tasks_api.models.channels import (
    Channel,
    FailingTask,
    NotificationRule,
    PendingNotice,
)
from tasks_api.models.lanes import Lane, LaneCeiling
from tasks_api.models.messages import Message, QueueTally
from tasks_api.models.rollups import HourRollup, LateRun, RollupProgress
from tasks_api.models.runs import Attempt, FurtherAttempt, Run
from tasks_api.models.tasks import (
    ScheduleChange,
    Task,
    TaskQuerySet,
    TaskTag,
    TaskTally,
)

__all__ = [
    "Attempt",
    "Channel",
    "FailingTask",
    "FurtherAttempt",
    "Heartbeat",
    "HourRollup",
    "IdempotencyKey",
    "Lane",
    "LaneCeiling",
    "LateRun",
    "Message",
    "NotificationRule",
    "PendingNotice",
    "QueueTally",
    "RollupProgress",
    "Run",
    "RunIdKey",
    "ScheduleChange",
    "Task",
    "TaskQuerySet",
    "TaskTag",
    "TaskTally",
]
