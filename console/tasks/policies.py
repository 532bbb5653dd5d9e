"""The policies of a task in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from console.schedule_words import interval_words
from tasks_api.domain.schedules import Once, Schedule
from tasks_api.domain.specs import Backoff, Misfire, Overlap, RetryPolicy
from tasks_api.services.task_details import TaskPolicies, TaskRequest

OVERLAPS = {
    Overlap.ALLOW: "Its runs may overlap.",
    Overlap.SKIP: "A fire time is skipped while the run before it is not over.",
    Overlap.QUEUE_ONE: "While a run is not over, one more waits, and others are skipped.",
}
MISFIRES = {
    Misfire.LATEST: "After a downtime, the newest missed fire time runs",
    Misfire.SKIP: "After a downtime, nothing is made up for",
    Misfire.ALL: "After a downtime, up to 100 missed fire times run",
}


def policy_words(
    policies: TaskPolicies, request: TaskRequest, schedule: Schedule | None
) -> list[str]:
    """Say which runs a task has, and what counts as success."""
    return [
        *([] if request.queue else _request_words(policies, request)),
        *([] if isinstance(schedule, Once) else _schedule_words(policies, request)),
    ]


def _request_words(policies: TaskPolicies, request: TaskRequest) -> Iterator[str]:
    expected = policies.expected_status
    yield f"{f'A status of {expected}' if expected else 'Any status below 400'} is a success."
    yield _retry_words(policies.retry)
    if request.timeout_seconds:
        yield f"An answer may take {time_words(request.timeout_seconds)}."
    if request.deadline:
        yield f"After a 202, the target reports within {time_words(request.deadline)}."


def _schedule_words(policies: TaskPolicies, request: TaskRequest) -> Iterator[str]:
    if not request.queue:
        yield OVERLAPS[policies.overlap]
    window = policies.catchup_window
    late = f", if it is at most {time_words(window)} late" if window else ""
    yield f"{MISFIRES[policies.misfire]}{late}."
    if policies.spread:
        yield f"It fires within {time_words(policies.spread)} after its schedule."
    if failures := policies.pause_after_failures:
        several = f"{failures} failed runs in a row" if failures > 1 else "a failed run"
        yield f"It is paused after {several}."


def _retry_words(retry: RetryPolicy | Backoff | None) -> str:
    match retry:
        case None:
            return "A run has one attempt."
        case Backoff():
            return (
                f"A run has up to {retry.max_attempts} attempts within "
                f"{time_words(retry.max_age)}, {_delays(retry)}: after no answer, and "
                f"after {retry.statuses.replace(',', ', ')}."
            )
        case RetryPolicy():
            statuses = ", ".join(map(str, retry.statuses))
            return (
                f"A run is tried again, {_delays(retry)}, until it succeeds: after no "
                f"answer, and after {statuses}."
            )


def _delays(retry: RetryPolicy | Backoff) -> str:
    return f"{time_words(retry.min_delay)} to {time_words(retry.max_delay)} apart"


def time_words(seconds: float) -> str:
    """Return `1 hour`, `30 seconds` or `1 day 2 hours`."""
    words = interval_words(timedelta(seconds=seconds))
    return words if words[0].isdigit() else f"1 {words}"
