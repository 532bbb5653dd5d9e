"""Turn the outcome of a request into a verdict: succeed, retry, give up or release."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from math import ceil

from tasks_api.delivery.request import ClaimedRun, HttpResult
from tasks_api.domain.request_options import split_sealed_values
from tasks_api.domain.retry_policies import parse_policy
from tasks_api.domain.specs import Backoff, RetryPolicy
from tasks_api.domain.states import Trouble

ACCEPTED = 202
MIN_FAILURE_STATUS = 400
CONFLICT = 409
GONE = 410
# Attempts that may be lost with their workers. After so many, the run is the likelier cause.
MAX_LOST_ATTEMPTS = 5
# Seconds until a run that its worker did not understand goes to another one.
PASS_ON_DELAY = 10.0
# The longest delay of an attempt, compared with that of the attempt before it.
BACKOFF_FACTOR = 4.0
# Of a Retry-After header; a number with more digits is longer than any retry waits.
MAX_DELAY_DIGITS = 18
MAX_DATE_LENGTH = 64
# Seconds after its moment in which silent name servers do not make a run fail.
MAX_DNS_OUTAGE = 60.0
# Seconds until a run comes back that was released for a trouble.
RELEASE_DELAYS = {Trouble.SILENT_NAMES: 10.0, Trouble.CROWDED: 2.0}


@dataclass(frozen=True)
class Succeed:
    pass


@dataclass(frozen=True)
class GiveUp:
    reason: str
    # The target said that it is gone for good, so its task ends, too.
    ends_task: bool = False


@dataclass(frozen=True)
class RetryAfter:
    """A failure that is tried again, `delay` seconds from now."""

    reason: str
    delay: float


@dataclass(frozen=True)
class KeepOpen:
    """The target is at work on it, and has `deadline` seconds to report."""

    deadline: int


@dataclass(frozen=True)
class Release:
    """Nothing was sent: the run goes back, as if this worker had never held it.

    It is worth another try in `delay` seconds, because of `reason`.
    """

    delay: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class PassOn:
    """Another worker may be able to send it: it goes back, as if it was lost here."""

    reason: str
    delay: float = PASS_ON_DELAY


@dataclass(frozen=True)
class Cancel:
    """A user cancelled the run, so its request was given up."""

    reason: str


Verdict = Succeed | GiveUp | RetryAfter | KeepOpen | Release | PassOn | Cancel


def judge(result: HttpResult, run: ClaimedRun, *, now: datetime) -> Verdict:
    """The verdict on a run after an attempt, by the rules of its task."""
    if result.trouble is Trouble.CANCELLED:
        return Cancel(result.error)
    if result.trouble is Trouble.NOT_UNDERSTOOD:
        is_last = run.lost_count + 1 >= MAX_LOST_ATTEMPTS
        return GiveUp(result.error) if is_last else PassOn(result.error)
    if not (result.was_sent or _is_hopeless(result, run, now)):
        return _make_release(result)
    status = result.status_code
    if status == ACCEPTED and (deadline := get_deadline(run)):
        return KeepOpen(deadline)
    if status is not None and _is_expected(status, run.expected_status):
        return Succeed()
    reason = result.error if status is None else f"HTTP {status}"
    if not run.retry:
        return GiveUp(reason)
    policy = parse_policy(run.retry)
    if isinstance(policy, Backoff):
        return _judge_backoff(reason, result, run, policy, now)
    delay = _next_delay(status, run.number, policy)
    return GiveUp(reason) if delay is None else RetryAfter(reason, delay)


def _is_hopeless(result: HttpResult, run: ClaimedRun, now: datetime) -> bool:
    """Whether name servers have been silent for so long that the host counts as failing."""
    late = (now - run.scheduled_for).total_seconds()
    return result.trouble is Trouble.SILENT_NAMES and late > MAX_DNS_OUTAGE


def _make_release(result: HttpResult) -> Release:
    if result.trouble is None:
        return Release()
    delay = max(result.pause, RELEASE_DELAYS.get(result.trouble, 0.0))
    return Release(delay, f"Waits: {result.error}.")


def parse_retry_after(retry_after: bytes, date: bytes, *, now: datetime) -> int:
    """How long a Retry-After header asks to wait (RFC 9110, 10.2.3); 0 if it does not.

    A moment is compared with the answer's own Date, whatever the clocks say, or with `now`.
    """
    asked = retry_after.strip()
    if asked.isdigit():
        return int(asked.lstrip(b"0")[:MAX_DELAY_DIGITS] or b"0")
    until = _http_date(asked)
    if until is None:
        return 0
    return max(0, ceil((until - (_http_date(date) or now)).total_seconds()))


def _http_date(text: bytes) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text[:MAX_DATE_LENGTH].decode("ascii"))
        # Every date is in UTC, but one of the three forms does not say so.
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def check_options(run: ClaimedRun) -> None:
    """Read all that judging needs, before anything is sent; raises what would fail it."""
    get_deadline(run)
    if run.expected_status:
        parse_statuses(run.expected_status)
    if run.retry:
        parse_policy(run.retry)


def get_deadline(run: ClaimedRun) -> int | None:
    """The seconds that long work has between two words; None where it may not be."""
    return split_sealed_values(run.request)[1].deadline if run.request else None


def _is_expected(status: int, expected: str) -> bool:
    return matches_status(status, expected) if expected else status < MIN_FAILURE_STATUS


@lru_cache(maxsize=1000)
def parse_statuses(text: str) -> tuple[range, ...]:
    """The statuses that codes and ranges stand for, such as `200-299,304`.

    Raises ValueError where they are neither.
    """
    bounds = [item.partition("-") for item in text.split(",")]
    return tuple(range(int(a), int(b if dash else a) + 1) for a, dash, b in bounds)


def matches_status(status: int, statuses: str) -> bool:
    return any(status in some for some in parse_statuses(statuses))


def _judge_backoff(
    reason: str, result: HttpResult, run: ClaimedRun, policy: Backoff, now: datetime
) -> Verdict:
    status = result.status_code
    if status is not None and not matches_status(status, policy.statuses):
        if status == GONE:
            return GiveUp(f"{reason}: the target is gone, so the task has ended", True)
        return GiveUp(reason)
    if result.no_retry:
        return GiveUp(f"{reason}; the target asked for no retry")
    if run.number >= policy.max_attempts:
        return GiveUp(f"{reason}; that was attempt {run.number}, the last one")
    asked = min(result.retry_after, policy.max_delay)
    delay = max(asked, _draw_delay(run.number, policy))
    latest = run.scheduled_for + timedelta(seconds=policy.max_age)
    if now + timedelta(seconds=delay) > latest:
        return GiveUp(f"{reason}; a retry would be later than {policy.max_age:g} s")
    return RetryAfter(reason, delay)


def _draw_delay(attempt: int, policy: Backoff) -> float:
    """Anywhere from the shortest delay to the longest of this attempt: full jitter.

    Runs that failed together then do not come back together, and none sooner than it may.
    """
    # A power that has long passed the limit need not be computed.
    longest = policy.min_delay * BACKOFF_FACTOR ** min(attempt, 32)
    longest = min(policy.max_delay, longest)
    return random.uniform(policy.min_delay, longest)  # noqa: S311 (no secret)


def _next_delay(status: int | None, attempt: int, policy: RetryPolicy) -> float | None:
    """Seconds until the next attempt, counted from 1; None is not to make one."""
    if status == CONFLICT:
        return policy.conflict_delay
    if status is not None and status not in policy.statuses:
        return None
    # A power that has long passed the limit need not be computed.
    return min(policy.max_delay, policy.min_delay * 2.0 ** min(attempt - 1, 32))
