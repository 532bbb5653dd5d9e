"""The list of tasks, the page of one, and the changes that their buttons make."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from console.confirmation import Question, ask, is_confirmed
from console.live import render_live
from console.pages import MemberRequest, for_members
from console.tasks.details import read_details
from console.tasks.forms import FilterForm
from console.tasks.rows import read_rows
from scheduler_service.db import clock
from tasks_api.domain.exceptions import InvalidTask, TaskNotFound
from tasks_api.services import task_details
from tasks_api.services.browsing import browse_tasks
from tasks_api.services.bulk_changes import Change, ChangeResult, change_tasks

PAGE_SIZE = 25
DONE = {
    Change.PAUSE: "paused",
    Change.RESUME: "resumed",
    Change.RUN: "running now",
    Change.REMOVE: "removed",
}


@for_members
@require_safe
def tasks(request: MemberRequest) -> HttpResponse:
    now, form = clock.now(), _read_filters(request)
    page = browse_tasks(
        request.user,
        form.filters,
        formats=form.formats,
        owner=form.owner_name,
        before=_read_id(request.GET["after"]) if request.GET.get("after") else None,
        limit=PAGE_SIZE,
        now=now,
    )
    context = {
        "form": form,
        "rows": read_rows(request.tenant.pk, page, now),
        "after": page.after and page.after.hex,
        "is_examined": page.after is not None,
    }
    return render_live(
        request, "console/tasks/tasks.html", "console/tasks/_list.html", context
    )


def _read_filters(request: MemberRequest) -> FilterForm:
    return FilterForm(request.GET, has_owners=request.user.reaches_tenant)


@for_members
@require_safe
def task(request: MemberRequest, task_id: str) -> HttpResponse:
    try:
        found = task_details.find_task(request.user, _read_id(task_id))
    except TaskNotFound:
        raise Http404 from None
    context = read_details(request, found, clock.now())
    return render_live(
        request, "console/tasks/task.html", "console/tasks/_now.html", context
    )


@for_members
@require_POST
def change(request: MemberRequest, action: str) -> HttpResponse:
    """Change the task of a button's row, or those that are checked."""
    ids, kind = _chosen_ids(request), Change(action)
    try:
        if kind is Change.REMOVE and ids and not is_confirmed(request):
            return _confirm_removal(request, ids)
        result = change_tasks(request.user, ids, kind, now=clock.now())
    except TaskNotFound:
        raise Http404 from None
    except InvalidTask as refusal:
        messages.error(request, f"{refusal}.")
    else:
        _report(request, kind, result)
    return redirect(_url_of_button(request))


def _chosen_ids(request: MemberRequest) -> list[UUID]:
    only = request.POST.get("only")
    chosen = [only] if only else request.POST.getlist("task")
    return [_read_id(text) for text in chosen]


def _read_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Http404 from None


def _confirm_removal(request: MemberRequest, ids: list[UUID]) -> HttpResponse:
    found = task_details.find_tasks(request.user, ids)
    names = [task_details.title_of(task) for task in found]
    is_single = len(names) == 1
    question = Question(
        question=f"Remove {names[0] if is_single else f'{len(names)} tasks'}?",
        consequence="What is removed does not fire any more. Its runs stay.",
        names=[] if is_single else names,
        kept=[("task", task.pk) for task in found],
        verb="Remove",
        back=_url_of_button(request),
    )
    return ask(request, question)


def _report(request: MemberRequest, kind: Change, result: ChangeResult) -> None:
    changed = [task_details.title_of(task) for task in result.changed]
    if not changed and not result.refused:
        messages.error(request, "Choose the tasks first.")
    if len(changed) == 1:
        messages.success(request, f"{changed[0]} is {DONE[kind]}.")
    elif changed:
        messages.success(request, f"{len(changed)} tasks are {DONE[kind]}.")
    for refused, reason in result.refused:
        title = task_details.title_of(refused)
        messages.warning(request, f"{title} is not {DONE[kind]}. {reason}")


def _url_of_button(request: MemberRequest) -> str:
    """The page with the button: that of a task, or the list with its filters."""
    if "page" in request.POST and (ids := _chosen_ids(request)):
        return reverse("console-task", args=ids[:1])
    return f"{reverse('console-tasks')}?{request.GET.urlencode()}"
