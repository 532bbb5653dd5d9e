"""The list of calendars of days, and the page of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from console.calendars.words import change_words, content_words
from console.calendars.year import FIRST_YEAR, LAST_YEAR, MAX_LISTED, draw_year
from console.pages import MemberRequest, for_members
from scheduler_service.db import clock
from tasks_api.domain.exceptions import CalendarNotFound
from tasks_api.services import calendar_tasks, calendars
from tasks_api.services.calendar_tasks import CalendarUser

SHOWN_VERSIONS = 10
SHOWN_TASKS = 50
# What a task does by a list that a calendar is in.
LIST_WORDS: Mapping[str, str] = {
    "exclude": "does not fire on its days",
    "only": "fires only on its days",
    "hold": "its runs wait until it is over",
}


class CalendarRow(NamedTuple):
    calendar: Any
    version: Any
    words: list[str]
    tasks: int


@for_members
@require_safe
def calendar_list(request: MemberRequest) -> HttpResponse:
    found = list(calendars.list_calendars(request.tenant).order_by("name"))
    versions = calendars.present_versions(found)
    counts = calendar_tasks.count_tasks_of_calendars(request.user)
    rows = [
        CalendarRow(each, version, content_words(version.content), counts[each.pk])
        for each in found
        for version in [versions[each.pk]]
    ]
    return render(request, "console/calendars/list.html", {"rows": rows})


@for_members
@require_safe
def calendar_detail(request: MemberRequest, calendar: str) -> HttpResponse:
    version = find_version(request, calendar)
    found = _read_tasks(request, version.calendar)
    context = {
        "calendar": version.calendar,
        "version": version,
        "words": content_words(version.content),
        "year": draw_year(version, _read_year(request)),
        "max_listed": MAX_LISTED,
        "tasks": [(task, _uses(task)) for task in found.tasks],
        "task_count": calendar_tasks.count_tasks_of_calendars(request.user)[
            version.calendar_id
        ],
        "after": found.after,
        **_read_versions(request, version.calendar),
    }
    return render(request, "console/calendars/calendar.html", context)


def find_version(request: MemberRequest, name: str) -> Any:
    """The version of a calendar of the tenant that counts; 404 if there is none."""
    try:
        return calendars.find_version(request.tenant, name)
    except CalendarNotFound:
        raise Http404 from None


def _read_year(request: MemberRequest) -> int:
    text = request.GET.get("year", "")
    is_number = text.isascii() and text.isdigit() and len(text) == 4
    year = int(text) if is_number else clock.now().year
    return min(max(year, FIRST_YEAR), LAST_YEAR)


def _read_tasks(request: MemberRequest, calendar: Any) -> calendar_tasks.CalendarUsers:
    try:
        after = UUID(request.GET["after"]) if request.GET.get("after") else None
    except ValueError:
        raise Http404 from None
    return calendar_tasks.find_users_of(
        request.user, calendar, after=after, limit=SHOWN_TASKS
    )


def _uses(task: CalendarUser) -> str:
    return "; ".join(LIST_WORDS[each] for each in task.lists)


def _read_versions(request: MemberRequest, calendar: Any) -> dict[str, Any]:
    """A page of versions with what each changed, the newest first."""
    text = request.GET.get("before", "")
    is_number = text.isascii() and text.isdigit() and len(text) <= 9
    found = calendars.versions_of(calendar).defer("holidays").order_by("-number")
    if is_number:
        found = found.filter(number__lt=int(text))
    rows: list[Any] = list(found[: SHOWN_VERSIONS + 1])
    pairs = zip(rows, [*rows[1:], None], strict=True)
    shown = [(row, change_words(before, row)) for row, before in pairs]
    return {
        "versions": shown[:SHOWN_VERSIONS],
        "older": rows[SHOWN_VERSIONS - 1].number
        if len(rows) > SHOWN_VERSIONS
        else None,
    }
