"""The quotas of requests a minute of tenants and tokens, and what is used of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from accounts import request_counts
from accounts.models import TokenBounds, User
from scheduler_service.db import clock
from tasks_api.services import limits

TENANT, TOKEN = "tenant", "token"


class RequestQuota(NamedTuple):
    """The quota of a tenant or a token, and what is used of it in this minute."""

    policy: str
    limit: int
    used: int
    resets_at: datetime

    @property
    def left(self) -> int:
        return max(0, self.limit - self.used)


class _Quota(NamedTuple):
    """A quota, and the name under which its requests are counted."""

    policy: str
    counter: str
    limit: int


def count_request(user: User) -> list[RequestQuota]:
    """Count a request of a caller. Most have no such quota."""
    quotas = [*_quotas_of_tenant(user)]
    if user.bounds is not None:
        quotas += _quotas_of_tokens([user.bounds])
    if not quotas:
        return []
    minute = request_counts.minute_of(clock.now())
    used = request_counts.count_request([each.counter for each in quotas], minute)
    return _with_counts(quotas, used, minute)


def read_tenant_requests(user: User) -> RequestQuota | None:
    """The quota of the caller's tenant, without counting a request."""
    return next(iter(_read(_quotas_of_tenant(user))), None)


def read_token_requests(rows: Sequence[TokenBounds]) -> dict[int, RequestQuota]:
    """The quotas of some bounds that have one, by their ids."""
    limited = [row for row in rows if row.max_requests_per_minute is not None]
    found = _read(_quotas_of_tokens(limited))
    return {row.pk: quota for row, quota in zip(limited, found, strict=True)}


def _quotas_of_tenant(user: User) -> list[_Quota]:
    limit = limits.quotas_of_caller(user).requests_per_minute
    return [] if limit is None else [_Quota(TENANT, f"tenant:{user.tenant_id}", limit)]


def _quotas_of_tokens(rows: Sequence[TokenBounds]) -> list[_Quota]:
    return [
        _Quota(TOKEN, f"bounds:{row.pk}", row.max_requests_per_minute)
        for row in rows
        if row.max_requests_per_minute is not None
    ]


def _read(quotas: Sequence[_Quota]) -> list[RequestQuota]:
    if not quotas:
        return []
    minute = request_counts.minute_of(clock.now())
    used = request_counts.read_counts([each.counter for each in quotas], minute)
    return _with_counts(quotas, used, minute)


def _with_counts(
    quotas: Sequence[_Quota], used: Sequence[int], minute: request_counts.Minute
) -> list[RequestQuota]:
    return [
        RequestQuota(quota.policy, quota.limit, count, minute.ends_at)
        for quota, count in zip(quotas, used, strict=True)
    ]
