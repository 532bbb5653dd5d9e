"""What the page of a task shows.

Functions stand for what only the whole page needs: a template calls them when it comes to
them, and a poll of the live part doesn't.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any

from accounts import audit
from accounts.models import Role
from console.curl import curl_command
from console.fire_times import to_row
from console.lanes.words import states_of
from console.pages import MemberRequest
from console.policy_words import policy_sentences
from console.tasks.accounts import show_account
from console.tasks.rows import row_of
from tasks_api.domain.calendars import OnCalendars
from tasks_api.domain.schedule_parts import zone_of
from tasks_api.domain.schedules import grid_of
from tasks_api.services.masked_requests import MASKED
from tasks_api.services.task_details import (
    TaskDetails,
    TaskSummary,
    measure_latency,
    recent_runs,
)

SHOWN_FIRE_TIMES = 10
SHOWN_RUNS = 10
SHOWN_ENTRIES = 10
# The characters of a body.
MAX_BODY_SHOWN = 4_000


def read_details(
    request: MemberRequest, found: TaskDetails, now: datetime
) -> dict[str, Any]:
    task, sent = found.summary, found.request
    schedule = task.schedule and grid_of(task.schedule)
    runs = recent_runs(request.tenant.pk, task.id, limit=SHOWN_RUNS)
    return {
        "task": task,
        "row": row_of(task, now),
        "runs": runs,
        "lane_states": states_of(found.task.lane, now) if task.lane else [],
        "waits_in_lane": any(run.waits_in_lane for run in runs),
        "sent": sent,
        "body": sent.body[:MAX_BODY_SHOWN],
        "is_cut": len(sent.body) > MAX_BODY_SHOWN,
        "curl": curl_command(sent),
        "masked": MASKED,
        "policies": policy_sentences(found.spec) if found.spec else [],
        "calendars": _calendar_names(task),
        "zone": zone_of(schedule) if schedule else "UTC",
        "coming": [
            to_row(each) for each in found.coming_fire_times(now, SHOWN_FIRE_TIMES)
        ],
        "latency": partial(measure_latency, request.tenant.pk, task.id),
        "shown_account": partial(show_account, request.user, task, now),
        "entries": partial(_audit_entries, request, task),
    }


def _calendar_names(task: TaskSummary) -> list[str]:
    if not isinstance(task.schedule, OnCalendars):
        return []
    rules = task.schedule.rules
    return sorted({each.name for each in (*rules.exclude, *rules.only, *rules.hold)})


def _audit_entries(request: MemberRequest, task: TaskSummary) -> Sequence[Any]:
    """The last entries about a task, for those who may read the audit log."""
    if request.user.role != Role.ADMIN:
        return []
    entries = audit.find_entries(request.tenant.pk, object_id=str(task.id))
    return list(entries[:SHOWN_ENTRIES])
