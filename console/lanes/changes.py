"""Make, change, pause, resume and remove lanes."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.template.defaultfilters import pluralize
from django.views.decorators.http import require_http_methods, require_POST

from console.confirmation import Question, ask, is_confirmed
from console.lanes.forms import LaneForm, PauseForm, initial_of
from console.pages import MemberRequest, for_admins
from scheduler_service.db import clock
from tasks_api.domain.exceptions import InvalidState, LaneExists
from tasks_api.services import lane_status, lanes
from tasks_api.services.bell import ring_after_commit
from tasks_api.services.lane_status import LaneStatus
from tasks_api.services.pausing import Hold


@for_admins
@require_http_methods(["GET", "HEAD", "POST"])
def new_lane(request: MemberRequest) -> HttpResponse:
    form = LaneForm(request.POST or None, is_new=True)
    if form.is_valid() and (made := _store(request, form)) is not None:
        messages.success(request, f"Lane {made.name} is made.")
        return redirect("console-lane", made.name)
    return render(request, "console/lanes/form.html", {"form": form})


@for_admins
@require_http_methods(["GET", "HEAD", "POST"])
def edit_lane(request: MemberRequest, lane: str) -> HttpResponse:
    found = lanes.get_lane(request.tenant, lane)
    form = LaneForm(request.POST or None, is_new=False, initial=initial_of(found))
    if form.is_valid() and _store(request, form, lane) is not None:
        messages.success(request, f"Lane {lane} is changed.")
        return redirect("console-lane", lane)
    return render(request, "console/lanes/form.html", {"form": form, "lane": found})


def _store(request: MemberRequest, form: LaneForm, name: str = "") -> Any:
    """Store what a form says; None if the form says why it cannot be."""
    try:
        if name:
            stored = lanes.change_lane(request.user, name, form.columns)
        else:
            stored = lanes.create_lane(request.user, form.columns)
    except LaneExists as refusal:
        is_about_name = "with the name" in str(refusal)
        form.add_error("name" if is_about_name else "host", f"{refusal}.")
    except InvalidState as refusal:
        form.add_error(None, f"{refusal}.")
    else:
        ring_after_commit()
        return stored
    return None


@for_admins
@require_http_methods(["GET", "HEAD", "POST"])
def pause_lane(request: MemberRequest, lane: str) -> HttpResponse:
    """Ask why and until when, and pause the lane."""
    now = clock.now()
    found = lane_status.get_status(request.user, lane, now=now)
    form = PauseForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        hold = Hold(form.cleaned_data["reason"], form.cleaned_data["until"])
        lanes.pause_lane(request.user, lane, hold, now=now)
        messages.success(request, f"Lane {lane} is paused.")
        return redirect("console-lane", lane)
    return render(request, "console/lanes/pause.html", {"form": form, "status": found})


@for_admins
@require_POST
def resume_lane(request: MemberRequest, lane: str) -> HttpResponse:
    lanes.resume_lane(request.user, lane)
    ring_after_commit()
    messages.success(request, f"Lane {lane} is resumed.")
    return redirect("console-lane", lane)


@for_admins
@require_POST
def remove_lane(request: MemberRequest, lane: str) -> HttpResponse:
    found = lane_status.get_status(request.user, lane, now=clock.now())
    if found.tasks.total:
        return render(request, "console/lanes/in_use.html", {"status": found})
    if not is_confirmed(request):
        return ask(request, _question(found))
    try:
        lanes.remove_lane(request.user, lane)
    except InvalidState as refusal:
        messages.error(request, f"{refusal}.")
        return redirect("console-lane", lane)
    messages.success(request, f"Lane {lane} is removed.")
    return redirect("console-lanes")


def _question(found: LaneStatus) -> Question:
    name, waiting = found.lane.name, found.waiting.total
    host = found.lane.host
    waits = (
        f" {waiting:,} run{pluralize(waiting)} that {pluralize(waiting, 'waits,wait')} "
        f"in it {pluralize(waiting, 'starts,start')} without a limit."
        if waiting
        else ""
    )
    later = f" New tasks with the host {host} have no limit any more." if host else ""
    return Question(
        question=f"Remove lane {name}?",
        consequence=f"No task belongs to it, so no task changes.{waits}{later} What ran in "
        "it stays in the history.",
        verb="Remove the lane",
        back=f"/app/lanes/{name}/",
    )
