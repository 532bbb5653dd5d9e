"""A client of the scheduler service: tasks, runs, accounts, and what arrives from it."""

from __future__ import annotations

from scheduler_client.client import Client
from scheduler_client.errors import (
    ApiError,
    BadRequest,
    BadSignature,
    Conflict,
    Forbidden,
    NotFound,
    SchedulerError,
    ServiceFailure,
    Stale,
    Unauthorized,
    Unreachable,
)
from scheduler_client.models import (
    Account,
    Attempt,
    Created,
    Difference,
    Entry,
    FireTime,
    FireTimes,
    IssuedToken,
    Plan,
    Redriven,
    Run,
    ScheduleChange,
    Step,
    Task,
    Token,
)
from scheduler_client.webhooks import Delivery, verify

__all__ = [
    "Account",
    "ApiError",
    "Attempt",
    "BadRequest",
    "BadSignature",
    "Client",
    "Conflict",
    "Created",
    "Delivery",
    "Difference",
    "Entry",
    "FireTime",
    "FireTimes",
    "Forbidden",
    "IssuedToken",
    "NotFound",
    "Plan",
    "Redriven",
    "Run",
    "ScheduleChange",
    "SchedulerError",
    "ServiceFailure",
    "Stale",
    "Step",
    "Task",
    "Token",
    "Unauthorized",
    "Unreachable",
    "verify",
]
