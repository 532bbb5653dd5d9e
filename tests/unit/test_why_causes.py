"""Causes of "why": each has words and a place on its page, and each reason has a cause."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tasks_api.delivery import results, transfers
from tasks_api.delivery.resolver import Unresolved
from tasks_api.domain import schedules
from tasks_api.domain.catch_up import CatchUp
from tasks_api.domain.schedules import Interval, missed_reason
from tasks_api.domain.states import RunState
from tasks_api.domain.why.causes import WORDS, Cause
from tasks_api.domain.why.holds import LOST_WORKER
from tasks_api.domain.why.reasons import cause_of_reason
from tasks_api.scheduler import rescue
from tasks_api.services import catch_ups, held_runs, lapsing
from tasks_api.storage import run_rows, schedule_changes
from tasks_api.taking import bounded_starts, excess, leases
from tasks_api.worker import long_work
from tests.conftest import NOON
from tests.integration.support.stored_tasks import HOUR

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "why.md"
HOURLY = Interval(NOON, HOUR)


def test_each_cause_has_words() -> None:
    assert WORDS.keys() == set(Cause)
    assert all(words.message.endswith(".") for words in WORDS.values())


def test_the_page_lists_each_cause_with_what_proves_it() -> None:
    _, _, text = PAGE.read_text(encoding="utf-8").partition("\n## Causes\n")
    rows = re.findall(r"^\| (`[^|]+`) \| [^|]+ \| [^|]+ \|$", text, re.MULTILINE)
    listed = [code for row in rows for code in re.findall(r"`(\w+)`", row)]

    assert sorted(listed) == sorted(Cause)


def unresolved(kind: Unresolved) -> str:
    return results.UNRESOLVED_RESULTS[kind].error


@pytest.mark.parametrize(
    ("state", "reason", "cause"),
    [
        (RunState.SKIPPED, run_rows.SKIPPED_REASON, Cause.OVERLAPPED),
        (RunState.SKIPPED, run_rows.QUEUE_FULL_REASON, Cause.QUEUE_FULL),
        (RunState.MISSED, schedule_changes.MISSED_REASON, Cause.CUT_OFF),
        (RunState.MISSED, schedules.ENDED_REASON, Cause.ENDED_MEANWHILE),
        (RunState.MISSED, schedules.TOO_LATE_REASON.format(5), Cause.TOO_LATE),
        *[
            (
                RunState.MISSED,
                missed_reason(HOURLY, NOON, NOON + HOUR, None, most),
                Cause.NOT_NEWEST,
            )
            for most in (1, 100)
        ],
        (
            RunState.MISSED,
            schedules.FireTimeCrowd(20_000, NOON, NOON + HOUR).reason(
                schedules.ENDED_REASON
            ),
            Cause.ENDED_MEANWHILE,
        ),
        *[
            (RunState.CANCELLED, reason, Cause.CUT_OFF)
            for reason in schedule_changes.CANCELLED_REASONS.values()
        ],
        (RunState.CANCELLED, "Cancelled by ann.", Cause.CANCELLED_BY_USER),
        (RunState.CANCELLED, "The task was removed.", Cause.REMOVED),
        (RunState.CANCELLED, "The task was paused.", Cause.PAUSED_BY_USER),
        (RunState.CANCELLED, "The task was replaced.", Cause.REPLACED),
        (
            RunState.CANCELLED,
            "HTTP 500; not tried again, the task was removed.",
            Cause.REMOVED,
        ),
        (
            RunState.CANCELLED,
            "The end of the task was moved to before this run.",
            Cause.END_MOVED,
        ),
        (
            RunState.CANCELLED,
            "The target of the task is gone (HTTP 410).",
            Cause.TARGET_GONE,
        ),
        (RunState.CANCELLED, "Of another release.", Cause.AS_RECORDED),
        (RunState.FAILED, "HTTP 500", Cause.TARGET_ANSWERED),
        (
            RunState.FAILED,
            "HTTP 503; that was attempt 3, the last one",
            Cause.RETRIES_EXHAUSTED,
        ),
        (
            RunState.FAILED,
            "HTTP 503; a retry would be later than 60 s",
            Cause.RETRIES_EXHAUSTED,
        ),
        (
            RunState.FAILED,
            "HTTP 500; the target asked for no retry",
            Cause.RETRY_REFUSED,
        ),
        (
            RunState.FAILED,
            "HTTP 410: the target is gone, so the task has ended",
            Cause.TARGET_GONE,
        ),
        (RunState.FAILED, "connection reset", Cause.NO_ANSWER),
        (RunState.FAILED, "no answer within 30 s", Cause.NO_ANSWER),
        (RunState.FAILED, transfers.ADDRESS_NOT_ALLOWED, Cause.ADDRESS_FORBIDDEN),
        (RunState.FAILED, unresolved(Unresolved.MISSING), Cause.NAME_UNKNOWN),
        (RunState.FAILED, unresolved(Unresolved.SILENT), Cause.NAMES_SILENT),
        (RunState.FAILED, "Its worker was lost too often.", Cause.LOST_TOO_OFTEN),
        (RunState.FAILED, long_work.EXPIRED, Cause.WORK_OVERDUE),
        (RunState.FAILED, long_work.FAILED, Cause.WORK_FAILED),
        (RunState.FAILED, results.INVALID_REQUEST, Cause.SERVICE_ERROR),
        (RunState.FAILED, results.REQUEST_ABORTED, Cause.SERVICE_ERROR),
        (RunState.PENDING, run_rows.WAITING_REASON, Cause.IN_LINE),
        (RunState.RUNNING, leases.UNSENT_REASON, Cause.HOST_BUSY),
        *[
            (RunState.MISSED, excess.REASON.format(whose=whose, limit=limit), cause)
            for whose, limit, cause in (
                ("tenant", "quota of runs a day", Cause.QUOTA_LINE_FULL),
                ("token", "runs a day", Cause.BOUNDS_LINE_FULL),
            )
        ],
        *[
            (RunState.MISSED, catch_up.missed_reason, Cause.NOT_CAUGHT_UP)
            for catch_up in (CatchUp.LATEST, CatchUp.ALL)
        ],
        (RunState.CANCELLED, catch_ups.CANCELLED_REASON, Cause.NOT_CAUGHT_UP),
        (RunState.CANCELLED, lapsing.REASON, Cause.BOUNDS_LAPSED),
        (RunState.CANCELLED, bounded_starts.LAPSED_REASON, Cause.BOUNDS_LAPSED),
        (
            RunState.CANCELLED,
            "HTTP 500; not tried again, the task was done.",
            Cause.STOPPED_ON_SUCCESS,
        ),
        (RunState.PENDING, held_runs.reason_of("freeze"), Cause.HELD_BY_CALENDAR),
        (RunState.PENDING, bounded_starts.ENDING_REASON, Cause.BOUNDS_ENDING),
        # A name that a user gives says nothing.
        (RunState.PENDING, "Waits for lane its host is slow.", Cause.LANE_FULL),
        (RunState.SUCCEEDED, "Waited for lane crm.", Cause.LANE_FULL),
        (RunState.SUCCEEDED, "Waited: held by calendar crm.", Cause.HELD_BY_CALENDAR),
        *[
            (RunState.PENDING, f"Waits: {error}.", cause)
            for error, cause in (
                (unresolved(Unresolved.SILENT), Cause.NAMES_SILENT),
                (unresolved(Unresolved.CROWDED), Cause.HOST_BUSY),
                (results.CROWDED_RESULT.error, Cause.HOST_BUSY),
                (results.WORKER_STARVED, Cause.WORKERS_BUSY),
            )
        ],
        (RunState.SUCCEEDED, "", None),
        (RunState.SUCCEEDED, "Waited: its name servers do not answer.", Cause.NAMES_SILENT),
    ],
)  # fmt: skip
def test_the_reason_of_a_run_states_its_cause(
    state: RunState, reason: str, cause: Cause | None
) -> None:
    assert cause_of_reason(state, reason) == cause


def test_lost_attempts_begin_alike() -> None:
    assert rescue.UNSEEN_LOSS.startswith(LOST_WORKER)
