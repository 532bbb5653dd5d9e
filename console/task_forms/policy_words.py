"""Say in sentences what becomes of the runs of a task."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from console.schedule_words import duration_words
from tasks_api.domain.schedules import Once
from tasks_api.domain.specs import Backoff, Misfire, Overlap, TaskSpec

OVERLAPS = {
    Overlap.ALLOW: "A run starts although the one before is under way.",
    Overlap.SKIP: "A run is skipped while the one before is under way.",
    Overlap.QUEUE_ONE: "A run waits while the one before is under way.",
}
MISFIRES = {
    Misfire.LATEST: "Of fire times that nobody could take, the latest is made up for.",
    Misfire.SKIP: "A fire time that nobody could take is left out.",
    Misfire.ALL: "All fire times that nobody could take are made up for.",
}


def policy_sentences(spec: TaskSpec) -> list[str]:
    if spec.queue:
        return [f"The queue {spec.queue} gets the body as a job."]
    once = () if isinstance(spec.schedule, Once) else _of_many_runs(spec)
    return [*_of_requests(spec), *once]


def _of_requests(spec: TaskSpec) -> Iterator[str]:
    statuses = spec.expected_status
    counts = f"A status of {statuses}" if statuses else "A status below 400"
    yield f"{counts} counts as delivered."
    yield (
        _retries(spec.retry)
        if isinstance(spec.retry, Backoff)
        else ("A request that fails is not sent again.")
    )
    if spec.request.timeout_seconds:
        yield f"The request may take {_seconds(spec.request.timeout_seconds)}."
    if spec.request.deadline:
        span = _seconds(spec.request.deadline)
        yield f"After a status of 202, the target has {span} to report the result."


def _retries(retry: Backoff) -> str:
    if retry.max_attempts == 1:
        return "A request that fails is not sent again."
    return (
        f"Without an answer, or with a status of {retry.statuses}, the request is sent up "
        f"to {retry.max_attempts} times in all, {_seconds(retry.min_delay)} to "
        f"{_seconds(retry.max_delay)} apart, for at most {_seconds(retry.max_age)}."
    )


def _of_many_runs(spec: TaskSpec) -> Iterator[str]:
    yield OVERLAPS[spec.overlap]
    yield MISFIRES[spec.misfire]
    if spec.catchup_window:
        yield f"A run that is more than {_seconds(spec.catchup_window)} late is missed."
    if spec.spread:
        yield f"It fires up to {_seconds(spec.spread)} after each time, always as much."
    if spec.pause_after_failures:
        yield f"{spec.pause_after_failures} failed runs in a row pause the task."


def _seconds(count: float) -> str:
    return duration_words(timedelta(seconds=count))
