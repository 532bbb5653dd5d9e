"""The page that plans a change of all tasks of a filter, and makes it when it is told to."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.template.defaultfilters import pluralize
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from console.many_tasks.actions import ACTIONS, Action, Plan
from console.many_tasks.forms import ActionForm
from console.pages import MemberRequest, for_writers
from console.task_forms.checks import sentence
from console.tasks.forms import FilterForm
from scheduler_service.db import clock
from tasks_api.api.tasks.base import UnchangeableTasks
from tasks_api.domain.effort import TooMuch, allowance
from tasks_api.domain.exceptions import InvalidTask, PlanChanged, SchedulerError

# The steps that the schedules of one request may take, as for one to the API.
MAX_STEPS = 500_000
# The tasks that a refusal names.
MAX_REFUSALS = 10
NO_FILTER = (
    "Filter the list of tasks first, by a tag, a search, a state or a kind. Only tasks of "
    "the tasks API are changed in this way."
)


@for_writers
@require_http_methods(["GET", "HEAD", "POST"])
def many_tasks(request: MemberRequest, verb: str) -> HttpResponse:
    action = ACTIONS[verb]
    found = FilterForm(request.GET, has_owners=request.user.reaches_tenant).api_filter
    if not found:
        messages.error(request, NO_FILTER)
        return redirect(_list_url(request))
    form = action.form(request.POST if request.method == "POST" else None)
    done = _answer(request, action, form, found) if form.is_valid() else {}
    return (
        done if isinstance(done, HttpResponse) else _show(request, action, form, done)
    )


def _answer(
    request: MemberRequest, action: Action, form: ActionForm, found: dict[str, str]
) -> HttpResponse | dict[str, Any]:
    """Do what the form says if it comes with the hash of its plan; or return the plan."""
    body = {"filter": found, **form.to_body()}
    fingerprint = request.POST.get("hash")
    try:
        with allowance(MAX_STEPS, TooMuch):
            if fingerprint:
                return _apply(request, action, {**body, "hash": fingerprint})
            return {"plan": _plan(request, action, body)}
    except PlanChanged:
        return {"is_changed": True, **_plan_anew(request, action, form, body)}
    except SchedulerError as refusal:
        return _refuse(form, refusal)


def _plan(request: MemberRequest, action: Action, body: dict[str, Any]) -> Plan:
    return action.run(request.user, {**body, "dry_run": True}, clock.now())


def _plan_anew(
    request: MemberRequest, action: Action, form: ActionForm, body: dict[str, Any]
) -> dict[str, Any]:
    try:
        with allowance(MAX_STEPS, TooMuch):
            return {"plan": _plan(request, action, body)}
    except SchedulerError as refusal:
        return _refuse(form, refusal)


def _apply(
    request: MemberRequest, action: Action, body: dict[str, Any]
) -> HttpResponse:
    done = action.run(request.user, body, clock.now())
    more = f" More tasks match: {action.title.lower()} again." if done.has_more else ""
    tasks = (
        f"{done.total} task{pluralize(done.total)} {pluralize(done.total, 'is,are')}"
    )
    messages.success(request, f"{tasks} {action.done}.{more}")
    return redirect(_list_url(request))


def _refuse(form: ActionForm, refusal: SchedulerError) -> dict[str, Any]:
    """Say in the form why nothing was done; return the tasks that stand against it."""
    if isinstance(refusal, UnchangeableTasks):
        form.add_error(None, f"{refusal}.")
        return {"refused": refusal.errors[:MAX_REFUSALS]}
    if isinstance(refusal, InvalidTask):
        form.refuse(refusal.field, sentence(refusal))
    else:
        form.add_error(None, f"{str(refusal).removesuffix('.')}.")
    return {}


def _show(
    request: MemberRequest, action: Action, form: ActionForm, found: dict[str, Any]
) -> HttpResponse:
    filters = FilterForm(request.GET, has_owners=request.user.reaches_tenant)
    context = {
        "action": action,
        "form": form,
        "back": _list_url(request),
        "conditions": [
            (field.label, field.value()) for field in filters if field.value()
        ],
        **found,
    }
    return render(request, "console/many_tasks/page.html", context)


def _list_url(request: MemberRequest) -> str:
    """The list with the same filter."""
    left_out = ("selected", "after")
    query = {name: value for name, value in request.GET.items() if name not in left_out}
    return f"{reverse('console-tasks')}?{urlencode(query)}"
