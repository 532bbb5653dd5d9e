"""The heat map of the load, and the tasks that fire in a part of it."""

from __future__ import annotations

from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from console.calendar.content import read_calendar, read_coming
from console.calendar.query import DIVISIONS, ZONES, read_query, read_window
from console.links import runs_url
from console.pages import MemberRequest, for_members
from scheduler_service.db import clock


@for_members
@require_safe
def calendar(request: MemberRequest) -> HttpResponse:
    now = clock.now()
    query = read_query(request.GET, now)
    found = read_calendar(request.user, query, now=now)
    if found is None:
        raise Http404
    context = {
        "query": query,
        "calendar": found,
        "zones": ZONES,
        "divisions": DIVISIONS,
    }
    return render(request, "console/calendar/calendar.html", context)


@for_members
@require_safe
def coming_tasks(request: MemberRequest) -> HttpResponse:
    """The tasks that fire between two moments; the past has runs instead."""
    now = clock.now()
    window = read_window(request.GET, now)
    if window.until <= now:
        return redirect(runs_url(*window))
    query = read_query(request.GET, now)
    found = read_coming(request.user, window, query, now=now)
    context = {"query": query, "window": window, "coming": found}
    if window.since < now:
        context["runs_url"] = runs_url(window.since, now)
    return render(request, "console/calendar/tasks.html", context)
