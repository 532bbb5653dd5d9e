"""Count the runs that a worker has finished, a batch at a time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from tasks_api.delivery.retry import GiveUp, PassOn, Release, Succeed
from tasks_api.domain.states import RunState
from tasks_api.metrics import counters
from tasks_api.worker.record import Finished

NO_ANSWER = "none"
END_STATES = {Succeed: RunState.SUCCEEDED, GiveUp: RunState.FAILED}


def count_finished(finished: Sequence[Finished]) -> None:
    """Count what a worker has written down."""
    ends: Counter[RunState] = Counter()
    lateness: list[float] = []
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    released = 0
    for run, outcome, verdict, started_at in finished:
        if outcome.trouble and isinstance(verdict, Release | PassOn):
            counters.GIVEN_BACK.labels(outcome.trouble).inc()
            continue
        if isinstance(verdict, Release):
            released += 1
            continue
        if end := END_STATES.get(type(verdict)):
            ends[end] += 1
        if run.number == 1:
            lateness.append((started_at - run.scheduled_for).total_seconds())
        if not run.queue:
            status = outcome.status_code
            answer = NO_ANSWER if status is None else f"{status // 100}xx"
            seconds[answer].append(outcome.duration_ms / 1000)
    counters.LATENESS.observe(lateness)
    for answer, values in seconds.items():
        counters.ATTEMPTS.observe(values, answer)
    for end, count in ends.items():
        counters.RUNS.labels(end).inc(count)
    counters.DOUBLES_PREVENTED.labels("lease").inc(released)


def count_ended(finished: Sequence[Finished]) -> None:
    """Count runs that ended long after their requests, as their targets said."""
    for item in finished:
        if end := END_STATES.get(type(item.verdict)):
            counters.RUNS.labels(end).inc()
