"""What we conclude from what happened on the wire."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from math import ceil

from tasks_api.delivery.request import Claimed, Outcome
from tasks_api.domain.request_options import split_sealed_values
from tasks_api.domain.specs import Backoff, RetryPolicy
from tasks_api.domain.states import Trouble

ACCEPTED = 202
FIRST_FAILURE = 400
CONFLICT = 409
GONE = 410
# Workers that a run may be too much for, lost or not; then it is likelier the cause.
MOST_LOST = 5
# Seconds until a run goes to the next worker that this one did not understand.
PASS_ON_AFTER = 10.0
FACTOR = 4.0
MOST_DIGITS = 18
LONGEST_DATE = 64
# Seconds after a run's moment for which silent name servers are no failure of its host.
NAMES_PATIENCE = 60.0
# Seconds until they are asked again, and until a run that stood in the way comes back.
PAUSES = {Trouble.SILENT_NAMES: 10.0, Trouble.CROWDED: 2.0}


@dataclass(frozen=True)
class Succeed:
    pass


@dataclass(frozen=True)
class GiveUp:
    reason: str
    # The target says that it is gone for good, so that its task is over, too.
    ends_task: bool = False


@dataclass(frozen=True)
class RetryAfter:
    """A failure that is tried again, `delay` seconds from now."""

    reason: str
    delay: float


@dataclass(frozen=True)
class Open:
    """The target is at work on it, and has `deadline` seconds to say a word."""

    deadline: int


@dataclass(frozen=True)
class Release:
    """Nothing was sent: the run goes back, as if this worker had never held it.

    `reason` is why it is worth another try no sooner than in `delay` seconds.
    """

    delay: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class PassOn:
    """This worker cannot send it, and another may: it goes back, as if it was lost here."""

    reason: str
    delay: float = PASS_ON_AFTER


Verdict = Succeed | GiveUp | RetryAfter | Open | Release | PassOn


def judge(outcome: Outcome, run: Claimed, *, now: datetime) -> Verdict:
    """What becomes of a run after an attempt, by the rules of its task."""
    if outcome.trouble is Trouble.NOT_UNDERSTOOD:
        is_last = run.lost_count + 1 >= MOST_LOST
        return GiveUp(outcome.error) if is_last else PassOn(outcome.error)
    if not (outcome.was_sent or _is_hopeless(outcome, run, now)):
        return _released(outcome)
    status = outcome.status_code
    if status == ACCEPTED and (deadline := deadline_of(run)):
        return Open(deadline)
    if status is not None and _is_expected(status, run.expected_status):
        return Succeed()
    reason = outcome.error if status is None else f"HTTP {status}"
    if not run.retry:
        return GiveUp(reason)
    policy = _policy(run.retry)
    if isinstance(policy, Backoff):
        return _back_off(reason, outcome, run, policy, now)
    delay = _delay(status, run.number, policy)
    return GiveUp(reason) if delay is None else RetryAfter(reason, delay)


def _is_hopeless(outcome: Outcome, run: Claimed, now: datetime) -> bool:
    """Whether a name has been silent for so long that it is its host that fails."""
    late = (now - run.scheduled_for).total_seconds()
    return outcome.trouble is Trouble.SILENT_NAMES and late > NAMES_PATIENCE


def _released(outcome: Outcome) -> Release:
    if outcome.trouble is None:
        return Release()
    delay = max(outcome.pause, PAUSES.get(outcome.trouble, 0.0))
    return Release(delay, f"Waits: {outcome.error}.")


def seconds_asked(retry_after: bytes, date: bytes, *, now: datetime) -> int:
    """How long a Retry-After header asks to wait (RFC 9110, 10.2.3); 0 if it does not.

    A moment is compared with the answer's own Date, whatever the clocks say, or with `now`.
    """
    asked = retry_after.strip()
    if asked.isdigit():
        # More digits than anybody reads stand for more than anybody waits.
        return int(asked.lstrip(b"0")[:MOST_DIGITS] or b"0")
    until = _http_date(asked)
    if until is None:
        return 0
    return max(0, ceil((until - (_http_date(date) or now)).total_seconds()))


def _http_date(text: bytes) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text[:LONGEST_DATE].decode("ascii"))
        # All of them are in UTC, and one of the three forms does not say so.
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def check(run: Claimed) -> None:
    """Read all that judging needs, before anything is sent; raises what would fail it."""
    deadline_of(run)
    if run.expected_status:
        statuses_of(run.expected_status)
    if run.retry:
        _policy(run.retry)


def deadline_of(run: Claimed) -> int | None:
    """The seconds that long work has between two words; None where it may not be."""
    return split_sealed_values(run.request)[1].deadline if run.request else None


def _is_expected(status: int, expected: str) -> bool:
    return is_within(status, expected) if expected else status < FIRST_FAILURE


@lru_cache(maxsize=1000)
def statuses_of(text: str) -> tuple[range, ...]:
    """The statuses that codes and ranges stand for, such as `200-299,304`.

    Raises ValueError where they are neither.
    """
    bounds = [item.partition("-") for item in text.split(",")]
    return tuple(range(int(a), int(b if dash else a) + 1) for a, dash, b in bounds)


def is_within(status: int, statuses: str) -> bool:
    return any(status in some for some in statuses_of(statuses))


def _back_off(
    reason: str, outcome: Outcome, run: Claimed, policy: Backoff, now: datetime
) -> Verdict:
    status = outcome.status_code
    if status is not None and not is_within(status, policy.statuses):
        if status == GONE:
            return GiveUp(f"{reason}: the target is gone, so the task has ended", True)
        return GiveUp(reason)
    if outcome.no_retry:
        return GiveUp(f"{reason}; the target asked for no retry")
    if run.number >= policy.max_attempts:
        return GiveUp(f"{reason}; that was attempt {run.number}, the last one")
    asked = min(outcome.retry_after, policy.max_delay)
    delay = max(asked, _drawn(run.number, policy))
    latest = run.scheduled_for + timedelta(seconds=policy.max_age)
    if now + timedelta(seconds=delay) > latest:
        return GiveUp(f"{reason}; a retry would be later than {policy.max_age:g} s")
    return RetryAfter(reason, delay)


def _drawn(attempt: int, policy: Backoff) -> float:
    """Anywhere from the shortest delay to the longest of this attempt: full jitter.

    Runs that failed together then do not come back together, and none sooner than it may.
    """
    # A power that has long passed the limit need not be computed.
    longest = policy.min_delay * FACTOR ** min(attempt, 32)
    longest = min(policy.max_delay, longest)
    return random.uniform(policy.min_delay, longest)  # noqa: S311 (no secret)


def _delay(status: int | None, attempt: int, policy: RetryPolicy) -> float | None:
    """Seconds until the next attempt, counted from 1; None is not to make one."""
    if status == CONFLICT:
        return policy.conflict_delay
    if status is not None and status not in policy.statuses:
        return None
    # A power that has long passed the limit need not be computed.
    return min(policy.max_delay, policy.min_delay * 2.0 ** min(attempt - 1, 32))


@lru_cache(maxsize=1000)
def _policy(text: str) -> RetryPolicy | Backoff:
    stored = json.loads(text)
    return Backoff(**stored) if "max_attempts" in stored else RetryPolicy(**stored)
