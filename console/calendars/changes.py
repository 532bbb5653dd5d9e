"""Make, change, import and remove calendars of days: a change asks before it moves tasks."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from console.calendars.forms import CalendarForm, FileForm, initial_of, seal_of
from console.calendars.views import find_version
from console.confirmation import Question, ask, is_confirmed
from console.pages import MemberRequest, for_admins
from scheduler_service.db import clock
from tasks_api.domain.calendar_files import read_file
from tasks_api.domain.cron_text import zone_names
from tasks_api.domain.exceptions import (
    CalendarExists,
    InvalidState,
    InvalidTask,
    VersionConflict,
)
from tasks_api.services import calendar_effects, calendars
from tasks_api.services.calendars import CalendarContent

# The changed tasks that a preview names.
MAX_NAMED = 10


@for_admins
@require_http_methods(["GET", "HEAD", "POST"])
def new_calendar(request: MemberRequest) -> HttpResponse:
    form = CalendarForm(request.POST or None, is_new=True, initial={"zone": "UTC"})
    if form.is_valid() and _create(request, form):
        return redirect("console-days", form.cleaned_data["name"])
    return _show(request, form, {})


def _show(
    request: MemberRequest, form: CalendarForm, context: dict[str, Any]
) -> HttpResponse:
    page = {"form": form, "zones": sorted(zone_names()), "max_named": MAX_NAMED}
    return render(request, "console/calendars/form.html", {**page, **context})


def _create(request: MemberRequest, form: CalendarForm) -> bool:
    name, now = form.cleaned_data["name"], clock.now()
    try:
        calendars.create_calendar(request.user, name, form.content, now=now)
    except InvalidTask as refusal:
        form.refuse(refusal)
    except (CalendarExists, InvalidState) as refusal:
        is_name = isinstance(refusal, CalendarExists)
        form.add_error("name" if is_name else None, f"{refusal}.")
    else:
        messages.success(request, f"{name} is there. Name it in the form of a task.")
        return True
    return False


@for_admins
@require_http_methods(["GET", "HEAD", "POST"])
def edit_calendar(request: MemberRequest, calendar: str) -> HttpResponse:
    version = find_version(request, calendar)
    if request.method != "POST":
        form = CalendarForm(is_new=False, initial=initial_of(version))
        return _show(request, form, {"version": version})
    return _answer(request, CalendarForm(request.POST, is_new=False), version)


def _answer(request: MemberRequest, form: CalendarForm, version: Any) -> HttpResponse:
    """Save a change that the page has shown, or show what it would do."""
    context = {"version": version}
    if form.is_valid():
        try:
            if _is_same(form.content, version):
                return _done(request, version, "stays as it was")
            return _save(request, form, version) or _preview(request, form, version)
        except InvalidTask as refusal:
            form.refuse(refusal)
        except InvalidState as refusal:
            form.add_error(None, f"{refusal}.")
    return _show(request, form, context)


def _is_same(content: CalendarContent, version: Any) -> bool:
    """Whether it is what the version has, also if a newer library knows the holidays."""
    is_said = content == CalendarContent(version.zone, version.content)
    return is_said and content.find_holidays(clock.now()) == version.holidays


def _done(request: MemberRequest, version: Any, what: str) -> HttpResponse:
    messages.success(request, f"{version.calendar.name} {what}.")
    return redirect("console-days", version.calendar.name)


def _save(
    request: MemberRequest, form: CalendarForm, version: Any
) -> HttpResponse | None:
    """Make the new version; None if tasks follow, and no page has shown this change yet."""
    is_shown = form.cleaned_data["previewed"] == seal_of(form.content, version.number)
    if not is_shown and calendars.count_tasks(version.calendar):
        return None
    try:
        changed = calendars.change_calendar(
            request.user,
            version.calendar.name,
            form.content,
            now=clock.now(),
            seen_version=version.number,
        )
    except VersionConflict:
        return None
    return _done(request, version, f"has its version {changed.version}")


def _preview(request: MemberRequest, form: CalendarForm, version: Any) -> HttpResponse:
    """Show what a change would do; the same form, sent again, makes it."""
    name, seen = version.calendar.name, form.cleaned_data["version"]
    effect = calendar_effects.preview_change(
        request.user, name, form.content, now=clock.now()
    )
    form.put(previewed=seal_of(form.content, version.number), version=version.number)
    context = {
        "version": version,
        "effect": effect,
        "is_newer": seen is not None and seen != version.number,
    }
    return _show(request, form, context)


@for_admins
@require_http_methods(["GET", "HEAD", "POST"])
def import_calendar(request: MemberRequest, calendar: str) -> HttpResponse:
    version, now = find_version(request, calendar), clock.now()
    form = FileForm(request.POST or None, request.FILES or None)
    read = _read(form, version, now) if form.is_valid() else None
    if read is None:
        context = {"form": form, "calendar": version.calendar}
        return render(request, "console/calendars/import.html", context)
    edited = CalendarForm(is_new=False, initial=initial_of(version, read))
    return _show(request, edited, {"version": version, "imported": read.content})


def _read(form: FileForm, version: Any, now: datetime) -> CalendarContent | None:
    """The content of a version with the events of a file; None if the form says why not."""
    try:
        found = read_file(form.cleaned_data["file"], version.zone, now)
    except InvalidTask as refusal:
        form.add_error("file", f"{refusal}.".removeprefix("Invalid value of ics. "))
        return None
    read = CalendarContent(version.zone, found._asdict())
    return calendars.with_file(version, read)


@for_admins
@require_POST
def remove_calendar(request: MemberRequest, calendar: str) -> HttpResponse:
    version = find_version(request, calendar)
    name = version.calendar.name
    if not is_confirmed(request):
        return ask(request, _question(version))
    try:
        calendars.remove_calendar(request.user, name, now=clock.now())
    except InvalidState as refusal:
        messages.error(request, f"{name} stays: {refusal}.")
        return redirect("console-days", name)
    messages.success(request, f"{name} is removed.")
    return redirect("console-calendars")


def _question(version: Any) -> Question:
    name = version.calendar.name
    return Question(
        question=f"Remove the calendar {name}?",
        consequence="No task can follow it any more. Its versions stay, because the "
        "accounts of tasks are computed from them. While tasks follow it, it is not removed.",
        verb="Remove the calendar",
        back=reverse("console-days", args=[name]),
    )
