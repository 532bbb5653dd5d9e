"""Quotas of requests a minute, and the headers that tell of them.

The headers are those of draft-ietf-httpapi-ratelimit-headers: a policy is the quota of the
tenant or of the token, its window is a minute of the clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from accounts import request_counts
from accounts.models import User
from scheduler_service.db import clock
from tasks_api.domain.exceptions import QuotaExceeded
from tasks_api.services import limits
from tasks_api.services.request_quotas import RequestQuota
from tasks_api.storage import day_counts

WINDOW_SECONDS = int(request_counts.WINDOW.total_seconds())
WARNING_HEADER = "X-Quota-Warning"


def require_left(quotas: Sequence[RequestQuota]) -> None:
    """Raise QuotaExceeded if a quota is exceeded."""
    for quota in quotas:
        if quota.used > quota.limit:
            raise QuotaExceeded(
                "requests_per_minute",
                f"The quota of the {quota.policy} is {quota.limit} requests a minute",
                until=quota.resets_at,
            )


def headers_of(quotas: Sequence[RequestQuota]) -> dict[str, str]:
    now = clock.now()
    policies, states = [], []
    for quota in quotas:
        wait = max(0, ceil((quota.resets_at - now).total_seconds()))
        policies.append(f'"{quota.policy}";q={quota.limit};w={WINDOW_SECONDS}')
        states.append(f'"{quota.policy}";r={quota.left};t={wait}')
    return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(states)}


def find_warning(user: User) -> str | None:
    """What to tell a caller who stores a task while the runs of the day are used up."""
    quota = limits.quotas_of_caller(user).runs_per_day
    if quota is None or user.tenant_id is None:
        return None
    used = day_counts.read_runs([user.tenant_id])
    if used.day is None or used.runs[user.tenant_id] < quota:
        return None
    return f"runs_per_day: {quota} of {quota} used, runs wait until {limits.next_day(clock.now()):%Y-%m-%dT%H:%M:%SZ}"
