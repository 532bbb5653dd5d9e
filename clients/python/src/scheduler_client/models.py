"""The objects of the service as dataclasses. Their datetimes are aware and in UTC."""

from __future__ import annotations

from scheduler_client.access_models import (
    AuditEntry,
    IssuedToken,
    NewSigningSecret,
    QuotaUse,
    SigningSecret,
    Token,
    TokenUsage,
    Usage,
    User,
)
from scheduler_client.channel_models import Channel, Rule
from scheduler_client.lane_models import AdmissionVerdict, Lane
from scheduler_client.run_models import (
    Attempt,
    BackfillResult,
    CancelResult,
    RedriveResult,
    Run,
)
from scheduler_client.stats_models import (
    Account,
    AccountDifference,
    Forecast,
    ForecastSeries,
    HourBalance,
    HourStats,
    LaneForecast,
    ReasonCount,
    ScheduleChange,
    Stats,
    TenantAccount,
)
from scheduler_client.task_models import (
    CreatedTask,
    FireTime,
    FireTimes,
    Plan,
    PlanStep,
    Task,
)

__all__ = [
    "Account",
    "AccountDifference",
    "AdmissionVerdict",
    "Attempt",
    "AuditEntry",
    "BackfillResult",
    "CancelResult",
    "Channel",
    "CreatedTask",
    "FireTime",
    "FireTimes",
    "Forecast",
    "ForecastSeries",
    "HourBalance",
    "HourStats",
    "IssuedToken",
    "Lane",
    "LaneForecast",
    "NewSigningSecret",
    "Plan",
    "PlanStep",
    "QuotaUse",
    "ReasonCount",
    "RedriveResult",
    "Rule",
    "Run",
    "ScheduleChange",
    "SigningSecret",
    "Stats",
    "Task",
    "TenantAccount",
    "Token",
    "TokenUsage",
    "Usage",
    "User",
]
