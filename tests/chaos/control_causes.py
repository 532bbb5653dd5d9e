"""Which causes "why" may name beside the usual ones, for tasks with lanes and calendars.

To add a cause, add its code to the row of the clients whose tasks it concerns.
"""

from __future__ import annotations

from collections.abc import Mapping

# What a run may wait for that also keeps others waiting.
BUSY = frozenset({"workers_busy", "held_in_worker", "host_busy"})
# By the beginning of the marks of a client's tasks, and by the state of the run.
MORE_CAUSES: Mapping[str, Mapping[str, frozenset[str]]] = {
    "laned": {
        "succeeded": BUSY
        | {"lane_full", "lane_paused", "lane_breaker", "lane_held", "lane_slowed"},
    },
    "dated": {
        "succeeded": BUSY | {"held_by_calendar"},
        "missed": frozenset({"cut_off"}),
        "cancelled": frozenset({"removed", "paused_by_user"}),
    },
    "ended": {"missed": frozenset({"max_runs", "ended_meanwhile"})},
    "caught": {
        "succeeded": BUSY | {"caught_up", "paused_by_user"},
        "missed": frozenset({"not_caught_up", "cut_off"}),
        # It was paused again before it made up for its pause.
        "cancelled": frozenset(
            {"cut_off", "removed", "paused_by_user", "not_caught_up"}
        ),
    },
    "filled": {"succeeded": BUSY},
    "bounded": {
        "succeeded": BUSY | {"bounds_spent"},
        "missed": frozenset({"bounds_line_full"}),
        "cancelled": frozenset({"bounds_spent"}),
    },
}
# The tasks of another tenant, about which the user of the checker may not ask.
UNASKED = "counted"


def more_causes(mark: str, state: str) -> frozenset[str]:
    for prefix, by_state in MORE_CAUSES.items():
        if mark.startswith(prefix):
            return by_state.get(state, frozenset())
    return frozenset()
