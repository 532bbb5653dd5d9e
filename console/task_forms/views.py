"""The pages that make and change a task, and that show how a test of its request went."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from accounts import audit
from console.formats import TITLES
from console.pages import MemberRequest, for_members
from console.task_forms import saving
from console.task_forms.checks import sentence
from console.task_forms.drafts import (
    Draft,
    changed_draft,
    edit_form,
    initial_of,
    new_draft,
)
from console.task_forms.forms import CRON, TaskForm
from console.task_forms.lane_choices import read_post
from console.task_forms.pages import answer, for_task_writers, show_form
from console.task_forms.schedule_rows import edited_rows
from scheduler_service.db import clock
from tasks_api.domain.effort import TooMuch
from tasks_api.domain.exceptions import (
    InvalidTask,
    KeyInUse,
    KeyReused,
    LimitReached,
    NameTaken,
    SchedulerError,
    TaskBusy,
    TaskNotFound,
    VersionConflict,
)
from tasks_api.domain.specs import Surface
from tasks_api.services import finding, trial_requests

# Links to the form of a new task may say these fields.
LINKED = ("url", "method", "cron", "timezone", "name", "tags", "body")
NEW_PAGE = {"title": "New task", "verb": "Create the task"}


@for_task_writers
@require_http_methods(["GET", "HEAD", "POST"])
def new_task(request: MemberRequest) -> HttpResponse:
    now = clock.now()
    if request.method != "POST":
        return show_form(request, TaskForm(initial=_linked(request, now)), NEW_PAGE)
    post = read_post(request)
    if (values := edited_rows(post)) is not None:
        return show_form(request, TaskForm(initial=values), NEW_PAGE)
    draft = new_draft(post, api=_api(request), now=now)
    is_final = "action" not in request.POST
    done = _create(request, draft, now) if is_final else None
    return done or answer(request, draft, NEW_PAGE, now)


def _linked(request: MemberRequest, now: datetime) -> dict[str, Any]:
    """The values that a new form begins with: those of a link, or of another task."""
    initial = {"key": str(uuid4()), "timezone": "UTC", "schedule": CRON}
    if copied := request.GET.get("copy"):
        task = _find(request, copied, now)
        initial |= {**initial_of(task, now), "name": ""}
    given = request.GET.dict()
    return initial | {name: given[name] for name in LINKED if name in given}


def _api(request: MemberRequest) -> str:
    return request.build_absolute_uri("/").rstrip("/")


def _create(request: MemberRequest, draft: Draft, now: datetime) -> HttpResponse | None:
    """Store the task and go to its page; None if the form says why it cannot be."""
    if draft.form.errors:
        return None
    key = draft.form.cleaned_data["key"] or str(uuid4())
    try:
        task_id = saving.create(request.user, draft.spec, draft.body, key=key, now=now)
    except NameTaken as refusal:
        draft.refuse("name", f"{refusal}.")
    except (InvalidTask, LimitReached, TaskBusy, TooMuch) as refusal:
        draft.refuse(_field_of(refusal), _words_of(refusal))
    except KeyInUse:
        draft.refuse("", "The same form is being stored at this moment. Wait a bit.")
    except KeyReused:
        draft.put("key", str(uuid4()))
        draft.refuse("", "This form made a task before, with other values. Send it again to make another task.")  # fmt: skip
    else:
        messages.success(request, f"{_label(draft)} is scheduled.")
        return redirect(f"/app/tasks/{task_id}/")
    return None


def _label(draft: Draft) -> str:
    return draft.spec.name or "The task"


@for_task_writers
@require_http_methods(["GET", "HEAD", "POST"])
def edit_task(request: MemberRequest, task_id: str) -> HttpResponse:
    now = clock.now()
    task = _find(request, task_id, now)
    if task.surface != Surface.TASKS:
        context = {"task": task, "format": TITLES[Surface(task.surface)]}
        return render(request, "console/task_forms/other_format.html", context)
    if request.method != "POST":
        initial = {**initial_of(task, now), "version": task.version}
        return show_form(request, edit_form(initial=initial), _edit_page(task))
    return _answer_edit(request, task, now)


def _edit_page(task: Any) -> dict[str, Any]:
    title = f"Edit {task.name or 'the task'}"
    return {"title": title, "verb": "Save the changes", "task": task}


def _answer_edit(request: MemberRequest, task: Any, now: datetime) -> HttpResponse:
    post = read_post(request)
    if (values := edited_rows(post)) is not None:
        return show_form(request, edit_form(initial=values), _edit_page(task))
    draft = changed_draft(task, post, api=_api(request), now=now)
    context = _edit_page(task)
    if "action" in request.POST:
        return answer(request, draft, context, now)
    done = _change(request, task, draft, now)
    if done is None and draft.form.cleaned_data.get("version") != task.version:
        # Sent again, the form is a change of the task as it is now.
        draft.put("version", str(task.version))
        context["conflict"] = _last_change(task)
    return done or answer(request, draft, context, now)


def _change(
    request: MemberRequest, task: Any, draft: Draft, now: datetime
) -> HttpResponse | None:
    """Change the task and go to its page; None if the form, or the page, says why not."""
    if draft.form.errors:
        return None
    version = draft.form.cleaned_data["version"]
    if version != task.version:
        return None
    try:
        saving.change(request.user, task.pk, draft.body, version=version, now=now)
    except (
        InvalidTask,
        LimitReached,
        NameTaken,
        TaskBusy,
        TooMuch,
        VersionConflict,
    ) as refusal:
        draft.refuse(_field_of(refusal), _words_of(refusal))
        return None
    done = "is changed" if draft.body else "stays as it was"
    messages.success(request, f"{_label(draft)} {done}.")
    return redirect(f"/app/tasks/{task.pk}/")


def _field_of(refusal: SchedulerError) -> str:
    if isinstance(refusal, NameTaken):
        return "name"
    return refusal.field if isinstance(refusal, InvalidTask) else ""


def _words_of(refusal: SchedulerError) -> str:
    if isinstance(refusal, InvalidTask):
        return sentence(refusal)
    return f"{str(refusal).removesuffix('.')}."


def _last_change(task: Any) -> Any:
    """The audit entry of the last change of a task; None if its version is older."""
    entries = audit.find_entries(
        task.tenant_id, action="task.change", object_id=str(task.pk)
    )
    return entries.first() or {}


def _find(request: MemberRequest, task_id: str, now: datetime) -> Any:
    try:
        return finding.find_living(request.user, finding.parse_id(task_id), now=now)
    except TaskNotFound:
        raise Http404 from None


@for_members
@require_safe
def trial(request: MemberRequest, task_id: str) -> HttpResponse:
    """How the test of a request went; a part of a page for htmx."""
    try:
        found = trial_requests.find_result(request.user, UUID(task_id))
    except (TaskNotFound, ValueError):
        raise Http404 from None
    context = {"task_id": task_id, "run": found.run, "attempt": found.attempt}
    template = "_trial.html" if request.htmx else "trial.html"
    return render(request, f"console/task_forms/{template}", {"trial": context})
