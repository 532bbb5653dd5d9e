"""What holds the runs of a lane."""

from __future__ import annotations

from datetime import datetime

from tasks_api.domain.why.causes import WORDS, Cause
from tasks_api.domain.why.facts import LaneFacts, LanePause, RunFacts
from tasks_api.domain.why.found import FoundCause, evidence_of_deed, evidence_of_run


def cause_of_pause(
    run: RunFacts, since: datetime, until: datetime
) -> FoundCause | None:
    """Return the pause of a lane in which a run waited; None if there was none."""
    pauses = () if run.lane is None else run.lane.pauses
    for pause in pauses:
        if pause.since < until and (pause.until is None or pause.until > since):
            assert run.lane is not None
            return _found_pause(run.lane, pause)
    return None


def _found_pause(lane: LaneFacts, pause: LanePause) -> FoundCause:
    said = f': "{pause.reason}"' if pause.reason else ""
    return FoundCause(
        Cause.LANE_PAUSED,
        f"{pause.deed.actor} had paused lane {lane.name}{said}.",
        pause.since,
        pause.until,
        (evidence_of_deed(pause.deed),),
    )


def cause_of_line(run: RunFacts, now: datetime) -> FoundCause:
    """Return why the lane lets a run wait, or let it wait."""
    cause, until = Cause.LANE_FULL, run.wake_at
    if run.lane is not None and run.begun_at is None and not run.is_over:
        cause, until = _present_cause(run.lane, run, now)
    words = WORDS[cause].message
    if run.lane is not None:
        words = f"{words.removesuffix('.')} (lane {run.lane.name})."
    return FoundCause(
        cause, words, run.scheduled_for, until, evidence=(evidence_of_run(run),)
    )


def _present_cause(
    lane: LaneFacts, run: RunFacts, now: datetime
) -> tuple[Cause, datetime | None]:
    if lane.is_broken:
        return Cause.LANE_BREAKER, lane.breaker_until
    if lane.held_until is not None and lane.held_until > now:
        return Cause.LANE_HELD, lane.held_until
    if lane.slowdown < 1:
        return Cause.LANE_SLOWED, run.wake_at
    return Cause.LANE_FULL, run.wake_at
