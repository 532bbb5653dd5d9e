"""Pause a task with a reason and until a moment, and resume it with what it makes up for."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from console.pages import MemberRequest
from console.task_forms.pages import for_task_writers
from console.zoned_moments import LocalMomentField, ZonedForm
from scheduler_service.db import clock
from tasks_api.domain.catch_up import CatchUp
from tasks_api.domain.exceptions import InvalidState, TaskNotFound
from tasks_api.domain.schedule_parts import zone_of
from tasks_api.domain.schedules import MAX_CATCH_UP
from tasks_api.services import pausing, task_details
from tasks_api.services.pausing import MAX_REASON_LENGTH, Hold
from tasks_api.services.task_details import TaskSummary

CATCH_UPS = [
    (CatchUp.NONE.value, "Nothing: they pass without a record"),
    (CatchUp.LATEST.value, "The newest one fires; older ones are missed"),
    (
        CatchUp.ALL.value,
        f"The newest {MAX_CATCH_UP} fire, the oldest first; older ones are missed",
    ),
]


class PauseForm(ZonedForm):
    reason = forms.CharField(
        required=False,
        max_length=MAX_REASON_LENGTH,
        help_text="It stands beside the task, such as: the billing database moves.",
    )
    until = LocalMomentField(
        required=False,
        help_text="The task resumes by itself then. Empty: when somebody resumes it.",
    )
    catch_up = forms.ChoiceField(
        label="What it makes up for", choices=CATCH_UPS, widget=forms.RadioSelect
    )
    field_order = ("reason", "until", "timezone", "catch_up")

    def clean(self) -> dict[str, Any]:
        given = super().clean()
        until = given.get("until")
        if until is not None and until <= clock.now():
            self.add_error("until", "It should be in the future.")
        return given

    @property
    def hold(self) -> Hold:
        given = self.cleaned_data
        return Hold(given["reason"], given["until"], CatchUp(given["catch_up"]))


class ResumeForm(forms.Form):
    catch_up = forms.ChoiceField(
        label="What it makes up for", choices=CATCH_UPS, widget=forms.RadioSelect
    )


@for_task_writers
@require_http_methods(["GET", "HEAD", "POST"])
def pause(request: MemberRequest, task_id: str) -> HttpResponse:
    task = _find_living(request, task_id)
    zone = zone_of(task.schedule) if task.schedule else "UTC"
    initial = {"reason": task.hold_reason, "catch_up": task.catch_up, "timezone": zone}
    form = PauseForm(request.POST or None, initial=initial)
    if not form.is_valid():
        return _show(request, task, form, "pause")
    ids, now = [str(task.id)], clock.now()
    pausing.pause_tasks(request.user, ids, now=now, hold=form.hold)
    messages.success(request, f"{task.title} is paused.")
    return redirect("console-task", task.id)


@for_task_writers
@require_http_methods(["GET", "HEAD", "POST"])
def resume(request: MemberRequest, task_id: str) -> HttpResponse:
    task = _find_living(request, task_id)
    form = ResumeForm(request.POST or None, initial={"catch_up": task.catch_up})
    if form.is_valid() and _resume(
        request, task, CatchUp(form.cleaned_data["catch_up"])
    ):
        return redirect("console-task", task.id)
    return _show(request, task, form, "resume")


def _find_living(request: MemberRequest, task_id: str) -> TaskSummary:
    try:
        found = task_details.find_task(request.user, UUID(task_id)).summary
    except (TaskNotFound, ValueError):
        raise Http404 from None
    if found.ended_at is not None:
        raise Http404
    return found


def _show(
    request: MemberRequest, task: TaskSummary, form: forms.Form, what: str
) -> HttpResponse:
    context = {"task": task, "form": form}
    return render(request, f"console/tasks/{what}.html", context)


def _resume(request: MemberRequest, task: TaskSummary, catch_up: CatchUp) -> bool:
    ids, now = [str(task.id)], clock.now()
    try:
        pausing.resume_tasks(request.user, ids, now=now, catch_up=catch_up)
    except InvalidState as refusal:
        messages.error(request, f"{refusal}.")
        return False
    made = " Its runs follow within a second." if catch_up is not CatchUp.NONE else ""
    messages.success(request, f"{task.title} is resumed.{made}")
    return True
