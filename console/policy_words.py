"""The policies of a task in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from tasks_api.domain.calendars import CalendarRules, OnCalendars
from tasks_api.domain.schedule_words import duration_words
from tasks_api.domain.schedules import Once
from tasks_api.domain.specs import Backoff, Misfire, Overlap, RetryPolicy, TaskSpec

OVERLAPS = {
    Overlap.ALLOW: "Its runs may overlap.",
    Overlap.SKIP: "A fire time is skipped while the run before it is not over.",
    Overlap.QUEUE_ONE: "While a run is not over, one more waits, and others are skipped.",
}
MISFIRES = {
    Misfire.LATEST: "After a downtime, the newest missed fire time runs",
    Misfire.SKIP: "After a downtime, missed fire times do not run",
    Misfire.ALL: "After a downtime, up to 100 missed fire times run",
}


def policy_sentences(spec: TaskSpec) -> list[str]:
    """Say which runs a task has, and what counts as success."""
    return [
        *([] if spec.queue else _of_requests(spec)),
        *([] if isinstance(spec.schedule, Once) else _of_many_runs(spec)),
    ]


def _of_requests(spec: TaskSpec) -> Iterator[str]:
    statuses = spec.expected_status
    yield f"{f'A status of {statuses}' if statuses else 'A status below 400'} is a success."
    yield _retry_words(spec.retry)
    if seconds := spec.request.timeout_seconds:
        yield f"An answer may take {_time(seconds)}."
    if seconds := spec.request.deadline:
        yield f"After a status of 202, the target has {_time(seconds)} to report the result."
    if spec.lane_name:
        yield f"Its runs wait for their turn in lane {spec.lane_name}."


def _of_many_runs(spec: TaskSpec) -> Iterator[str]:
    if not spec.queue:
        yield OVERLAPS[spec.overlap]
    window = spec.catchup_window if spec.misfire is not Misfire.SKIP else None
    yield f"{MISFIRES[spec.misfire]}{f', at most {_time(window)} late' if window else ''}."
    if spec.spread:
        yield f"It fires up to {_time(spec.spread)} after its schedule, always as much."
    if failures := spec.pause_after_failures:
        several = f"{failures} failed runs in a row" if failures > 1 else "a failed run"
        yield f"It is paused after {several}."
    if spec.max_runs:
        several = f"{spec.max_runs:,} runs" if spec.max_runs > 1 else "one run"
        yield f"It ends after {several} of its schedule."
    if spec.stop_on_success:
        yield "It ends after the first run of its schedule that succeeds."
    if isinstance(spec.schedule, OnCalendars):
        yield from _of_holds(spec.schedule.rules)


def _of_holds(rules: CalendarRules) -> Iterator[str]:
    names = " or ".join(each.name for each in rules.hold)
    pace = (
        f"at a pace of {rules.pace.replace('/', ' a ')}"
        if rules.pace
        else "all at once"
    )
    if names:
        yield f"In the time of calendar {names} its runs wait, and go {pace} after it."


def _retry_words(retry: RetryPolicy | Backoff | None) -> str:
    match retry:
        case None:
            return "A run has one attempt."
        case Backoff():
            return (
                f"A run has up to {retry.max_attempts} attempts within "
                f"{_time(retry.max_age)}, {_delays(retry)}: after no answer, and "
                f"after {retry.statuses.replace(',', ', ')}."
            )
        case RetryPolicy():
            statuses = ", ".join(map(str, retry.statuses))
            return (
                f"A run is tried again, {_delays(retry)}, until it succeeds: after no "
                f"answer, and after {statuses}."
            )


def _delays(retry: RetryPolicy | Backoff) -> str:
    return f"{_time(retry.min_delay)} to {_time(retry.max_delay)} apart"


def _time(seconds: float) -> str:
    return duration_words(timedelta(seconds=seconds))
