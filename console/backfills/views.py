"""Plan a backfill of a task, ask for it, see how it goes, and cancel what waits."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.template.defaultfilters import pluralize
from django.urls import reverse
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
    require_safe,
)

from console.backfills.forms import BackfillForm
from console.confirmation import Question, ask, is_confirmed
from console.live import render_live
from console.pages import MemberRequest, for_members
from console.runs.forms import GROUPS
from console.runs.queries import FIGURES, Figure
from console.task_forms.pages import for_task_writers
from console.zoned_moments import to_local
from scheduler_service.db import clock
from tasks_api.domain.backfills import DEFAULT_PACE, Which
from tasks_api.domain.effort import TooMuch
from tasks_api.domain.exceptions import (
    InvalidState,
    InvalidTask,
    LimitReached,
    TaskNotFound,
)
from tasks_api.domain.schedule_parts import zone_of
from tasks_api.domain.states import RunState
from tasks_api.services import backfill, backfill_progress, cancellation, task_details
from tasks_api.services.backfill import Backfill
from tasks_api.services.bell import announce_after_commit, ring_after_commit
from tasks_api.services.run_selection import RunSelection
from tasks_api.services.task_details import TaskSummary

DAY = timedelta(days=1)
# The slots of a plan that a page names, and the runs that one request cancels.
SHOWN_SLOTS = 10
MAX_CANCELLED = 1000
WAITING = frozenset({RunState.PENDING, RunState.RETRYING})


@for_task_writers
@require_http_methods(["GET", "HEAD", "POST"])
def plan_backfill(request: MemberRequest, task_id: str) -> HttpResponse:
    task, now = find_summary(request, task_id), clock.now()
    if request.method != "POST":
        return _show(request, task, BackfillForm(initial=_initial(task, now)))
    form = BackfillForm(request.POST)
    if not form.is_valid():
        return _show(request, task, form)
    return _answer(request, task, form)


def find_summary(request: MemberRequest, task_id: str) -> TaskSummary:
    """What a task is that the user reaches, living or ended; 404 if there is none."""
    try:
        return task_details.find_task(request.user, UUID(task_id)).summary
    except (TaskNotFound, ValueError):
        raise Http404 from None


def _initial(task: TaskSummary, now: datetime) -> dict[str, Any]:
    zone = zone_of(task.schedule) if task.schedule else "UTC"
    return {
        "since": to_local(now - DAY, zone),
        "until": to_local(now, zone),
        "timezone": zone,
        "which": Which.MISSED.value,
        "pace": str(DEFAULT_PACE),
    }


def _show(
    request: MemberRequest, task: TaskSummary, form: BackfillForm, **context: Any
) -> HttpResponse:
    page = {"task": task, "form": form, **context}
    return render(request, "console/backfills/plan.html", page)


def _answer(
    request: MemberRequest, task: TaskSummary, form: BackfillForm
) -> HttpResponse:
    """Make the runs of the plan that the page has shown, or show the plan."""
    shown, is_changed = form.cleaned_data["plan"], False
    try:
        if shown and "confirmed" in request.POST:
            made = _make(request, task, form, shown)
            if made is not None:
                return made
            is_changed = True
        found = backfill.backfill_task(request.user, task.id, form.wanted, dry_run=True)
    except InvalidTask as refusal:
        form.refuse(refusal)
    except (InvalidState, LimitReached, TooMuch) as refusal:
        form.add_error(None, f"{str(refusal).rstrip('.')}.")
    else:
        form.show_plan(found.plan.fingerprint)
        plan = _describe(found)
        return _show(request, task, form, plan=plan, is_changed=is_changed)
    return _show(request, task, form)


def _make(
    request: MemberRequest, task: TaskSummary, form: BackfillForm, shown: str
) -> HttpResponse | None:
    """Make the runs, and go where they show; None if the plan is another one by now."""
    try:
        made = backfill.backfill_task(
            request.user, task.id, form.wanted, expected=shown
        )
    except InvalidState:
        return None
    ring_after_commit()
    if made.backfill_id is None:
        messages.warning(request, "There is nothing to send.")
        return redirect("console-task", task.id)
    messages.success(request, f"{made.runs} run{pluralize(made.runs)} of it are made.")
    return redirect("console-backfill-progress", task.id, made.backfill_id)


def _describe(found: Backfill) -> dict[str, Any]:
    slots, times = found.plan.slots, found.plan.times
    return {
        "count": len(slots),
        "slots": slots[:SHOWN_SLOTS],
        "last": slots[-1] if len(slots) > SHOWN_SLOTS else None,
        "more": len(slots) - SHOWN_SLOTS - 1,
        "sent_from": times[0] if times else None,
        "sent_until": times[-1] if times else None,
    }


@for_members
@require_safe
def progress(request: MemberRequest, task_id: str, backfill_id: str) -> HttpResponse:
    task, found = find_summary(request, task_id), _read(request, task_id, backfill_id)
    context = {
        "task": task,
        "progress": found,
        "figures": list(_figures(found)),
        "backfill_id": backfill_id,
    }
    return render_live(
        request,
        "console/backfills/progress.html",
        "console/backfills/_progress.html",
        context,
    )


def _figures(found: backfill_progress.Progress) -> Iterator[Figure]:
    for figure in FIGURES:
        count = sum(found.counts.get(state, 0) for state in GROUPS[figure[0]])
        if count:
            yield Figure(*figure, count)


def _read(
    request: MemberRequest, task_id: str, backfill_id: str
) -> backfill_progress.Progress:
    """How a backfill goes; 404 if the task has none of this id."""
    found = backfill_progress.read_progress(
        request.user, UUID(task_id), UUID(backfill_id)
    )
    if not found.total:
        raise Http404
    return found


@for_members
@require_POST
def cancel(request: MemberRequest, task_id: str, backfill_id: str) -> HttpResponse:
    task, found = find_summary(request, task_id), _read(request, task_id, backfill_id)
    back = reverse("console-backfill-progress", args=[task_id, backfill_id])
    if not is_confirmed(request):
        return ask(request, _question(task, found, back))
    chosen = RunSelection(WAITING, task.id, backfill_id=UUID(backfill_id))
    result = cancellation.cancel_runs(request.user, chosen, limit=MAX_CANCELLED)
    announce_after_commit(result.runs)
    count, more = (
        len(result.runs),
        " More wait: cancel again." if result.has_more else "",
    )
    messages.success(request, f"{count} run{pluralize(count)} cancelled.{more}")
    return redirect(back)


def _question(
    task: TaskSummary, found: backfill_progress.Progress, back: str
) -> Question:
    count = f"{found.waiting} run{pluralize(found.waiting)}"
    return Question(
        question=f"Cancel the rest of this backfill of {task.title}?",
        consequence=f"{count} that wait are not sent, at most {MAX_CANCELLED} at once. "
        "What was sent stays as it is.",
        verb=f"Cancel {count}",
        back=back,
    )
