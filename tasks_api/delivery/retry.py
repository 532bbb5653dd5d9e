"""What we conclude from what happened on the wire."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache

from tasks_api.delivery.request import Claimed, Outcome
from tasks_api.specs import RetryPolicy

FIRST_FAILURE = 400
CONFLICT = 409


@dataclass(frozen=True)
class Succeed:
    pass


@dataclass(frozen=True)
class GiveUp:
    reason: str


@dataclass(frozen=True)
class RetryAfter:
    """A failure that is tried again, `delay` seconds from now."""

    reason: str
    delay: float


@dataclass(frozen=True)
class Release:
    """Nothing was sent: the run goes back, as if this worker had never held it."""


Verdict = Succeed | GiveUp | RetryAfter | Release


def judge(outcome: Outcome, run: Claimed) -> Verdict:
    """What becomes of a run after an attempt, by the rules of its task."""
    if not outcome.was_sent:
        return Release()
    status = outcome.status_code
    if status is not None and _is_expected(status, run.expected_status):
        return Succeed()
    reason = outcome.error if status is None else f"HTTP {status}"
    delay = _delay(status, run.number, _policy(run.retry)) if run.retry else None
    return GiveUp(reason) if delay is None else RetryAfter(reason, delay)


def _is_expected(status: int, expected: str) -> bool:
    if not expected:
        return status < FIRST_FAILURE
    first, last = expected.split("-")
    return int(first) <= status <= int(last)


def _delay(status: int | None, attempt: int, policy: RetryPolicy) -> float | None:
    """Seconds until the next attempt, counted from 1; None is not to make one."""
    if status == CONFLICT:
        return policy.conflict_delay
    if status is not None and status not in policy.statuses:
        return None
    # A power that has long passed the limit need not be computed.
    return min(policy.max_delay, policy.min_delay * 2.0 ** min(attempt - 1, 32))


@lru_cache(maxsize=1000)
def _policy(text: str) -> RetryPolicy:
    return RetryPolicy(**json.loads(text))
