"""The sums of an hour as numbers by name, and percentiles from them.

A name is a prefix and what is counted: `runs:failed`. Sums of several hours add up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from tasks_api.domain.states import RunState

Tally = Counter[str]

# All runs by state, and those of them that a user asked for.
RUNS, MANUAL = "runs:", "manual:"
# Undelivered runs by state and reason, and requests by the bucket of their lateness.
REASON, LATE = "reason:", "late:"
# Fire times that schedules planned; those of them that one run covers with others; and
# runs of one-time tasks, each of which was planned.
PLANNED, COVERED, ONE_TIME = "planned", "covered", "one time"
# The most reasons in the sums of an hour. The others are counted together.
MAX_REASONS = 50
OTHER_REASONS = "other reasons"

# The upper bounds of the buckets of lateness in milliseconds: a tenth apart, to a day.
LATE_BOUNDS = tuple(round(1.1**power, 3) for power in range(193))


class ReasonCount(NamedTuple):
    state: RunState
    reason: str
    runs: int


def count_of(tally: Tally, prefix: str, state: RunState) -> int:
    return tally[f"{prefix}{state.value}"]


def reason_name(state: str, reason: str) -> str:
    return f"{REASON}{state}:{reason}"


def reasons_of(tally: Tally) -> Iterator[ReasonCount]:
    """Yield the reasons of undelivered runs, the most frequent first."""
    found = [(size, name) for name, size in tally.items() if name.startswith(REASON)]
    for size, name in sorted(found, key=lambda item: (-item[0], item[1])):
        _, state, reason = name.split(":", 2)
        yield ReasonCount(RunState(state), reason, size)


def codes_of(tally: Tally) -> Counter[int]:
    """Count the failed runs by the status with which their last attempts failed."""
    found: Counter[int] = Counter()
    for each in reasons_of(tally):
        name, _, rest = each.reason[:8].partition(" ")
        if name == "HTTP" and rest.isascii() and rest.isdigit() and len(rest) == 3:
            found[int(rest)] += each.runs
    return found


def limit_reasons(tally: Tally) -> Tally:
    """Return the tally with its rarest reasons counted together, for each state."""
    rare = list(reasons_of(tally))[MAX_REASONS:]
    limited = Counter(tally)
    for each in rare:
        del limited[reason_name(each.state, each.reason)]
        limited[reason_name(each.state, OTHER_REASONS)] += each.runs
    return limited


def late_percentile(tally: Tally, share: float) -> float | None:
    """Return the milliseconds by which at most this share of the requests was late.

    It is the upper bound of a bucket, at most a tenth too high; None without requests.
    """
    buckets = {
        int(name.removeprefix(LATE)): size
        for name, size in tally.items()
        if name.startswith(LATE)
    }
    left = share * sum(buckets.values())
    for bucket, size in sorted(buckets.items()):
        left -= size
        if left <= 0:
            return LATE_BOUNDS[min(bucket, len(LATE_BOUNDS) - 1)]
    return None
