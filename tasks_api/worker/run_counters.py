"""Count the results of runs in the metrics, in batches."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from tasks_api.delivery.retry import GiveUp, PassOn, Release, Succeed
from tasks_api.domain.states import RunState
from tasks_api.metrics import counters
from tasks_api.worker.record import AttemptResult

NO_STATUS = "none"
END_STATES = {Succeed: RunState.SUCCEEDED, GiveUp: RunState.FAILED}


def count_results(results: Sequence[AttemptResult]) -> None:
    """Count results that a worker has recorded."""
    ends: Counter[RunState] = Counter()
    lateness: list[float] = []
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    released = 0
    for run, result, verdict, started_at in results:
        if result.trouble and isinstance(verdict, Release | PassOn):
            counters.RUNS_GIVEN_BACK.labels(result.trouble).inc()
            continue
        if isinstance(verdict, Release):
            released += 1
            continue
        if end := END_STATES.get(type(verdict)):
            ends[end] += 1
        if run.number == 1:
            lateness.append((started_at - run.scheduled_for).total_seconds())
        if not run.queue:
            status = result.status_code
            answer = NO_STATUS if status is None else f"{status // 100}xx"
            seconds[answer].append(result.duration_ms / 1000)
    counters.LATENESS.observe(lateness)
    for answer, values in seconds.items():
        counters.ATTEMPTS.observe(values, answer)
    for end, count in ends.items():
        counters.RUNS.labels(end).inc(count)
    counters.DOUBLES_PREVENTED.labels("lease").inc(released)


def count_ends(results: Sequence[AttemptResult]) -> None:
    """Count runs that ended long after their requests, when their targets reported."""
    for item in results:
        if end := END_STATES.get(type(item.verdict)):
            counters.RUNS.labels(end).inc()
