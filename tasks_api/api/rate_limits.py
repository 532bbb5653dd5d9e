"""Quotas of requests a minute, and the headers that tell of them.

The headers are those of draft-ietf-httpapi-ratelimit-headers: a policy is the quota of the
tenant or of the token, its window is a minute of the clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from math import ceil
from typing import NamedTuple

from accounts import request_counts
from accounts.models import User
from scheduler_service.db import clock
from tasks_api.domain.exceptions import QuotaExceeded
from tasks_api.services import limits
from tasks_api.storage import day_counts

WINDOW_SECONDS = int(request_counts.WINDOW.total_seconds())
WARNING_HEADER = "X-Quota-Warning"


class RequestQuota(NamedTuple):
    """The quota of a tenant or a token, and what is used of it in this minute."""

    policy: str
    limit: int
    used: int
    resets_at: datetime

    @property
    def left(self) -> int:
        return max(0, self.limit - self.used)


def count_request(user: User) -> list[RequestQuota]:
    """Count a request of a caller. Most have no such quota."""
    quotas = _find_quotas(user)
    if not quotas:
        return []
    minute = request_counts.minute_of(clock.now())
    used = request_counts.count_request([name for _, name, _ in quotas], minute)
    return [
        RequestQuota(policy, limit, count, minute.ends_at)
        for (policy, _, limit), count in zip(quotas, used, strict=True)
    ]


def _find_quotas(user: User) -> list[tuple[str, str, int]]:
    """The policy, the name of the count, and the limit of each quota."""
    found = []
    of_tenant = limits.quotas_of_caller(user).requests_per_minute
    if of_tenant is not None:
        found.append(("tenant", f"tenant:{user.tenant_id}", of_tenant))
    if user.bounds is not None and user.bounds.max_requests_per_minute is not None:
        name = f"bounds:{user.bounds.pk}"
        found.append(("token", name, user.bounds.max_requests_per_minute))
    return found


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
