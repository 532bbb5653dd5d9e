"""Tell lanes what the answers of their targets say: slow down, hold, go on, or break."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from django.db import Error as DatabaseError

from scheduler_service.db.arrays import columns
from scheduler_service.db.statements import prepared
from tasks_api.delivery import faults
from tasks_api.delivery.retry import KeepOpen, Succeed
from tasks_api.domain.lanes import MAX_HOLD
from tasks_api.taking import lane_statements
from tasks_api.worker.record import AttemptResult

logger = logging.getLogger(__name__)

# The statuses by which a target asks for less: too many requests, and unavailable.
_THROTTLED = (429, 503)


class LaneAnswers(NamedTuple):
    """The answers of one batch; the order of the fields is that of NOTE_ANSWERS."""

    lane_id: int
    is_throttled: bool
    # Seconds for which the target asks that nothing starts.
    hold: float
    has_success: bool
    # Failures since the last success.
    failures: int
    # Whether a request was given back before it began.
    is_unsent: bool


def note(results: Iterable[AttemptResult]) -> None:
    """Write what results say of their lanes, in one statement for all of them.

    If this fails, the lanes learn it from the next answers.
    """
    by_lane: defaultdict[int, list[AttemptResult]] = defaultdict(list)
    for item in results:
        if item.run.lane_id is not None:
            by_lane[item.run.lane_id].append(item)
    if not by_lane:
        return
    answers = [summarize(lane_id, of_lane) for lane_id, of_lane in by_lane.items()]
    try:
        with prepared() as cursor:
            cursor.execute(lane_statements.NOTE_ANSWERS, columns(answers))
    except DatabaseError as error:
        logger.warning("Lanes learn nothing of answers: %s", faults.summarize(error))


def summarize(lane_id: int, results: Sequence[AttemptResult]) -> LaneAnswers:
    sent = [item for item in results if item.result.was_sent]
    throttled = [item.result for item in sent if item.result.status_code in _THROTTLED]
    failures, has_success = 0, False
    for item in sent:
        if isinstance(item.verdict, Succeed | KeepOpen):
            failures, has_success = 0, True
        else:
            failures += 1
    hold = max((result.retry_after for result in throttled), default=0)
    return LaneAnswers(
        lane_id,
        bool(throttled),
        min(float(hold), MAX_HOLD.total_seconds()),
        has_success,
        failures,
        len(sent) < len(results),
    )
