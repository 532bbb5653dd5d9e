"""The story of a run as steps in time, each with a bar of its length."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from console.templatetags.console import exact
from tasks_api.domain.states import RunState
from tasks_api.services.run_stories import AttemptStory, RunStory

# The width of the drawing, and the narrowest bar in it.
WIDTH, MIN_WIDTH = 1000.0, 8.0
# The status with which a target says that it goes on working.
ACCEPTED = 202


class Step(NamedTuple):
    """What happened from one moment to another, or until now."""

    title: str
    since: datetime
    until: datetime
    # The class that colours its bar.
    css_class: str = "waiting"
    detail: str = ""
    attempt: AttemptStory | None = None
    is_end: bool = False


class DrawnStep(NamedTuple):
    step: Step
    # The time from the fire time to the step, and how long it took.
    offset: timedelta
    duration: timedelta
    # The place of its bar in a drawing of WIDTH.
    x: float
    width: float


def draw_timeline(story: RunStory, *, now: datetime) -> list[DrawnStep]:
    steps = list(_steps(story, now))
    start = min(step.since for step in steps)
    whole = max(step.until for step in steps) - start
    return [_draw(step, start, whole) for step in steps]


def _draw(step: Step, start: datetime, whole: timedelta) -> DrawnStep:
    offset, duration = step.since - start, step.until - step.since
    scale = WIDTH / (whole or timedelta(seconds=1)).total_seconds()
    width = max(MIN_WIDTH, duration.total_seconds() * scale)
    x = min(offset.total_seconds() * scale, WIDTH - width)
    return DrawnStep(step, offset, duration, round(x, 1), round(width, 1))


def _steps(story: RunStory, now: datetime) -> Iterator[Step]:
    run, attempts = story.run, story.attempts
    last_end = run.scheduled_for
    if attempts:
        yield _first_wait(story, attempts[0].attempt.started_at)
        yield from _attempts(story)
        last_end = attempts[-1].ended_at
    else:
        yield _first_wait(story, run.started_at or run.finished_at or last_end)
    if run.finished_at is None:
        yield _present(story, last_end, now)
        return
    if attempts and attempts[-1].attempt.status_code == ACCEPTED:
        yield Step("The target was at work", last_end, run.finished_at)
    yield Step("", run.finished_at, run.finished_at, detail=run.reason, is_end=True)


def _first_wait(story: RunStory, until: datetime) -> Step:
    run = story.run
    title = "Planned"
    if run.by_hand:
        title = "Redriven" if run.redrive_of else "Asked for by hand"
        title = "Backfilled" if run.backfill_id else title
    is_taken = story.attempts or run.state == RunState.RUNNING
    detail = "Then a worker took it." if is_taken else ""
    return Step(title, run.scheduled_for, until, detail=detail)


def _attempts(story: RunStory) -> Iterator[Step]:
    for each, following in pairwise([*story.attempts, None]):
        assert each is not None
        yield _attempt(story, each, is_last=following is None)
        if following is not None:
            title = _title_between(story, each, following)
            yield Step(title, each.ended_at, following.attempt.started_at)


def _attempt(story: RunStory, told: AttemptStory, *, is_last: bool) -> Step:
    made = told.attempt
    is_delivered = is_last and story.run.state in (RunState.SUCCEEDED, RunState.OPEN)
    return Step(
        f"Attempt {made.number}",
        made.started_at,
        told.ended_at,
        "delivered" if is_delivered else "failed",
        f"HTTP {made.status_code}" if made.status_code else made.error,
        told,
    )


def _title_between(story: RunStory, each: AttemptStory, following: AttemptStory) -> str:
    missing = following.attempt.number - each.attempt.number - 1
    if not missing:
        return "Wait for the next attempt"
    if story.attempts_left_out:
        return f"{missing} more attempts, which are not shown"
    return f"{missing} lost with the worker, and made again"


def _present(story: RunStory, last_end: datetime, now: datetime) -> Step:
    """What happens to a run that is not over."""
    run, number = story.run, story.run.attempt_count + 1
    wake_at = exact(run.wake_at)
    match run.state:
        case RunState.RUNNING:
            return Step("An attempt is under way", run.started_at or now, now)
        case RunState.OPEN:
            return Step(
                "The target is at work",
                last_end,
                now,
                detail=f"It reports until {wake_at}.",
            )
        case RunState.RETRYING:
            detail = f"It comes at {wake_at}, because of {run.reason}."
            return Step(f"Wait for attempt {number}", last_end, now, detail=detail)
    waited_for = "its lane" if story.waits_in_lane else "a worker"
    return Step(f"Wait for {waited_for}", last_end, now, detail=run.reason)
