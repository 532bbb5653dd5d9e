"""Which cause the reason of a run states. The texts are those that runs are stored with."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tasks_api.domain.states import RunState
from tasks_api.domain.why.causes import Cause

# Before the reason of a run that stands for many missed fire times.
_CROWD = re.compile(r"^[\d,]+ fire times, up to \S+\. ")

Table = Sequence[tuple[str, Cause]]

# Runs that were not sent. The first text counts with which a reason begins.
_UNSENT: Table = (
    ("The run before it was not over, and another one", Cause.QUEUE_FULL),
    ("The run before it was not over", Cause.OVERLAPPED),
    ("Nobody could fire it within ", Cause.TOO_LATE),
    ("Passed while nobody could fire it; only the newest", Cause.NOT_NEWEST),
    (
        "Passed while nobody could fire it, and its task has ended",
        Cause.ENDED_MEANWHILE,
    ),
    ("Passed while nobody could fire it", Cause.CUT_OFF),
    ("Passed while the task was paused; only the newest", Cause.NOT_CAUGHT_UP),
    ("The task was paused or ended before it made up", Cause.NOT_CAUGHT_UP),
    ("As many runs of its tenant waited for the quota", Cause.QUOTA_LINE_FULL),
    ("As many runs of its token waited for the runs a day", Cause.BOUNDS_LINE_FULL),
    ("The bounds of its token were not renewed", Cause.BOUNDS_LAPSED),
    ("A run of the task has succeeded.", Cause.STOPPED_ON_SUCCESS),
    ("Cancelled by ", Cause.CANCELLED_BY_USER),
    ("The task was removed.", Cause.REMOVED),
    ("The task was paused.", Cause.PAUSED_BY_USER),
    ("The task was replaced.", Cause.REPLACED),
    ("The end of the task was moved", Cause.END_MOVED),
    ("The target of the task is gone", Cause.TARGET_GONE),
)
# The texts with which a reason ends.
_UNSENT_ENDS: Table = (
    ("before anybody fired it.", Cause.CUT_OFF),
    ("not tried again, the task was replaced.", Cause.REPLACED),
    ("not tried again, the task was removed.", Cause.REMOVED),
    ("not tried again, the task was done.", Cause.STOPPED_ON_SUCCESS),
)
# Runs that failed. The first text counts that a reason contains.
_FAILED: Table = (
    ("the target is gone, so the task has ended", Cause.TARGET_GONE),
    ("the target asked for no retry", Cause.RETRY_REFUSED),
    ("; that was attempt ", Cause.RETRIES_EXHAUSTED),
    ("; a retry would be later than ", Cause.RETRIES_EXHAUSTED),
    ("Its worker was lost too often", Cause.LOST_TOO_OFTEN),
    ("The work was not done by its deadline", Cause.WORK_OVERDUE),
    ("The target said that its work failed", Cause.WORK_FAILED),
    ("target address is not allowed", Cause.ADDRESS_FORBIDDEN),
    ("its name servers do not answer", Cause.NAMES_SILENT),
    ("could not resolve host", Cause.NAME_UNKNOWN),
    ("could not be built: The bounds of the token", Cause.BOUNDS_REFUSED),
    ("could not be built: the bounds of its token", Cause.BOUNDS_REFUSED),
    ("could not be built", Cause.SERVICE_ERROR),
    ("request cannot be sent as it is", Cause.SERVICE_ERROR),
    ("could not be put into its queue", Cause.SERVICE_ERROR),
    ("what became of it could not be ", Cause.SERVICE_ERROR),
    ("not understood by its worker", Cause.SERVICE_ERROR),
    ("the service is stopping", Cause.SERVICE_ERROR),
)
# Runs that wait, or waited. The first text counts with which a reason begins, after
# "Waits" or "Waited".
_HELD: Table = (
    (" for lane ", Cause.LANE_FULL),
    (": held by calendar ", Cause.HELD_BY_CALENDAR),
    (" for the quota of runs a day ", Cause.QUOTA_SPENT),
    (" for the runs a day of its token ", Cause.BOUNDS_SPENT),
    (": the bounds of its token are about to end", Cause.BOUNDS_ENDING),
    (": the run before it is not over", Cause.IN_LINE),
)
# The first text counts that the reason contains.
_WAITING: Table = (
    ("its name servers do not answer", Cause.NAMES_SILENT),
    ("other names of its tenant wait", Cause.HOST_BUSY),
    ("its host is slow", Cause.HOST_BUSY),
    ("Waits for its turn at its host", Cause.HOST_BUSY),
    ("the worker lacked memory or a free socket", Cause.WORKERS_BUSY),
)


def cause_of_reason(state: RunState, reason: str) -> Cause | None:
    """Return the cause that a run states by its reason; None if it states none."""
    text = _CROWD.sub("", reason)
    if state == RunState.FAILED:
        return _contained(_FAILED, text) or _cause_of_answer(text)
    if state in (RunState.SKIPPED, RunState.MISSED, RunState.CANCELLED):
        return _cause_of_unsent(text)
    return _cause_of_wait(text)


def _cause_of_wait(text: str) -> Cause | None:
    if text.startswith("Held by calendar "):
        return Cause.HELD_BY_CALENDAR
    said = re.sub(r"^Wait(s|ed)", "", text)
    found = (cause for part, cause in _HELD if said.startswith(part))
    return next(found, None) or _contained(_WAITING, text)


def _contained(table: Table, text: str) -> Cause | None:
    return next((cause for part, cause in table if part in text), None)


def _cause_of_answer(text: str) -> Cause:
    return (
        Cause.TARGET_ANSWERED if re.match(r"HTTP [0-9]{3}", text) else Cause.NO_ANSWER
    )


def _cause_of_unsent(text: str) -> Cause:
    begun = (cause for part, cause in _UNSENT if text.startswith(part))
    ended = (cause for part, cause in _UNSENT_ENDS if text.endswith(part))
    return next(begun, None) or next(ended, Cause.AS_RECORDED)
