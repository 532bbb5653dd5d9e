"""What the pages of both forms have in common: what is on them, and the test of a request."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import wraps
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render

from console.pages import MemberRequest, View, for_writers
from console.task_forms.calendar_fields import FIELDS as CALENDARS
from console.task_forms.drafts import Draft
from console.task_forms.forms import TaskForm
from console.task_forms.lane_choices import offer_lanes
from console.task_forms.previews import preview
from tasks_api.domain.cron_text import zone_names
from tasks_api.domain.effort import TooMuch, allowance
from tasks_api.domain.exceptions import LimitReached, NameTaken
from tasks_api.services import calendars, trial_requests

# The steps that the schedule of one form may take, as for one request to the API.
MAX_STEPS = 100_000
# Fields that most tasks leave alone.
REQUEST_OPTIONS = ("content_type", "queue", "timeout_seconds", "expected_status", "deadline")  # fmt: skip
SCHEDULE_OPTIONS = ("start_datetime", "end_datetime", "gap", "passes")
RETRIES = ("max_attempts", "min_delay", "max_delay", "max_age", "statuses")
ENDS = ("max_runs", "stop_on_success")
POLICIES = (*RETRIES, "overlap", "misfire", "catchup_window", "pause_after_failures", *ENDS)  # fmt: skip


def for_task_writers(view: View) -> View:
    """A page for those who change tasks. What schedules it computes has a bound."""

    @wraps(view)
    def handle(request: MemberRequest, *args: Any, **kwargs: Any) -> Any:
        with allowance(MAX_STEPS, TooMuch):
            return view(request, *args, **kwargs)

    return for_writers(handle)


def show_form(
    request: MemberRequest, form: TaskForm, context: Mapping[str, Any]
) -> HttpResponse:
    known = calendars.list_calendars(request.tenant).order_by("name")
    form.offer_calendars(list(known.values_list("name", flat=True)))
    sections = {
        "request_options": _section(form, REQUEST_OPTIONS),
        "schedule_options": _section(form, SCHEDULE_OPTIONS),
        "policies": _section(form, POLICIES),
        "calendars": _section(form, CALENDARS),
    }
    offer_lanes(form, request.tenant)
    page = {"form": form, "zones": sorted(zone_names()), **sections, **context}
    return render(request, "console/task_forms/form.html", page)


def _section(form: TaskForm, names: tuple[str, ...]) -> dict[str, Any]:
    """The fields of a section, which is open if something in it was said or is wrong."""
    bound = [form[name] for name in names]
    is_open = any(each.errors or _is_said(each) for each in bound)
    return {"fields": bound, "is_open": is_open}


def _is_said(field: Any) -> bool:
    choices = getattr(field.field, "choices", None)
    default = next(iter(choices))[0] if choices else None
    return field.value() not in (None, "", False, [], default)


def answer(
    request: MemberRequest, draft: Draft, context: Mapping[str, Any], now: datetime
) -> HttpResponse:
    """Answer with the form and what it would do, or with the latter alone to htmx.

    If the form asks for it, its request is sent as a test.
    """
    is_test = request.POST.get("action") == "test"
    trial = send_trial(request, draft, now) if is_test else {}
    found = preview(draft, request.user, context.get("task"), now=now)
    if request.htmx:
        part = {"preview": found, "form": draft.form}
        return render(request, "console/task_forms/_preview.html", part)
    return show_form(request, draft.form, {"preview": found, **context, **trial})


def send_trial(request: MemberRequest, draft: Draft, now: datetime) -> dict[str, Any]:
    """Send the request of a draft now; return what the page says of it."""
    if not draft.has_valid_request:
        return {"trial_refusal": "The request cannot be sent yet: see below."}
    # What is wrong with the rest stands beside it after the form is saved.
    draft.form.errors.clear()
    try:
        task = trial_requests.send_trial(request.user, draft.spec, now=now)
    except NameTaken:
        return {"trial_refusal": "A test was sent at this moment. Try again."}
    except LimitReached as refusal:
        return {"trial_refusal": f"{refusal}."}
    return {"trial": {"task_id": task.pk}}
