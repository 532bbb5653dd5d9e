"""The story of a run: its attempts, the waits between them, and its redrives."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from accounts.models import User
from tasks_api.domain.states import FINAL_STATES, UNDELIVERED_STATES, RunState
from tasks_api.models import Attempt, Lane, Run, Task
from tasks_api.services import runs
from tasks_api.services.masked_requests import (
    Header,
    MaskedRequest,
    mask_headers_of_run,
    mask_request,
)

# A story tells the first and the last attempts of a run. Cron jobs may have thousands.
FIRST_ATTEMPTS, LAST_ATTEMPTS = 5, 25
# The most redrives of a run that its story names.
MAX_REDRIVES = 20


class AttemptStory(NamedTuple):
    attempt: Attempt

    @property
    def duration(self) -> timedelta:
        return timedelta(milliseconds=self.attempt.duration_ms)

    @property
    def ended_at(self) -> datetime:
        return self.attempt.started_at + self.duration


class RunStory(NamedTuple):
    run: Run
    task: Task
    attempts: list[AttemptStory]
    # The number of attempts between the first and the last ones.
    attempts_left_out: int
    # The run that this one sends again; None if there is none, or it was deleted.
    original: Run | None
    redrives: list[Run]
    # What its task sends now, and all headers that a target gets with it.
    request: MaskedRequest
    headers: list[Header]
    # The lane in which it waits or started; None if there is none, or it was removed.
    lane: Lane | None

    @property
    def is_over(self) -> bool:
        return self.run.state in FINAL_STATES

    @property
    def waits_in_lane(self) -> bool:
        return self.lane is not None and _is_waiting(self.run)

    @property
    def may_be_redriven(self) -> bool:
        is_undelivered = self.run.state in UNDELIVERED_STATES
        return is_undelivered and self.task.end_reason != "removed"


def read_story(owner: User, run_id: UUID) -> RunStory:
    """Return the story of a run that the user reaches. Raises RunNotFound."""
    run = runs.find_run(owner, run_id)
    of_tenant = Run.objects.filter(tenant=run.tenant_id)
    redrives = of_tenant.filter(redrive_of=run.pk).order_by("-scheduled_for")
    original = run.redrive_of and of_tenant.filter(pk=run.redrive_of).first()
    attempts = _read_attempts(run)
    return RunStory(
        run,
        run.task,
        attempts,
        max(0, run.attempt_count - run.lost_count - len(attempts)),
        original or None,
        list(redrives[:MAX_REDRIVES]),
        mask_request(run.task, callback_url=run.task.tenant.callback_url),
        mask_headers_of_run(run),
        _lane_of(run),
    )


def story_version(owner: User, run_id: UUID) -> str:
    """Return a text that changes when the story of a run does. Raises RunNotFound."""
    run = runs.find_run(owner, run_id)
    moving = (run.state, run.attempt_count, run.wake_at, run.lease, run.cancelled_by)
    lane = _lane_of(run) if _is_waiting(run) else None
    holds = lane and (
        *(lane.paused_at, lane.hold_reason, lane.resume_at, lane.held_until),
        *(lane.breaker_state, lane.breaker_until, lane.slowdown),
    )
    return f"{'-'.join(map(str, moving))}-{run.reason}-{holds}"


def _is_waiting(run: Run) -> bool:
    return run.state in (RunState.PENDING, RunState.RETRYING)


def _lane_of(run: Run) -> Lane | None:
    if run.lane_id is None:
        return None
    return Lane.objects.filter(pk=run.lane_id, tenant=run.tenant_id).first()


def _read_attempts(run: Run) -> list[AttemptStory]:
    found = list(run.attempts.order_by("number")[:FIRST_ATTEMPTS])
    if len(found) == FIRST_ATTEMPTS:
        found += run.attempts.order_by("-number")[:LAST_ATTEMPTS]
    by_number = {each.number: each for each in found}
    return [AttemptStory(by_number[number]) for number in sorted(by_number)]
