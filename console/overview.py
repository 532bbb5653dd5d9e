"""The overview of a tenant, which teaches the first call while there is no task."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST, require_safe

from accounts import services as accounts
from accounts.models import Scope
from console.pages import MemberRequest, for_members
from scheduler_service.db import clock
from tasks_api.domain.specs import Surface
from tasks_api.services import counts

# What people call one task of each wire format.
TITLES = {
    Surface.TASKS: "task",
    Surface.CRON_JOBS: "cron job",
    Surface.TIMERS: "timer",
    Surface.REST_JOBS: "rest job",
}
# A token for a trial; the settings issue tokens that live longer.
TRIAL_LIFETIME = timedelta(days=30)


@for_members
@require_safe
def overview(request: MemberRequest) -> HttpResponse:
    template = "console/_task_count.html" if request.htmx else "console/overview.html"
    return render(request, template, _context(request))


@for_members
@require_POST
def issue_trial_token(request: MemberRequest) -> HttpResponse:
    """Issue a token and show it once, in the command of the first call."""
    expires_at = clock.now() + TRIAL_LIFETIME
    token = accounts.issue_token(
        request.user, name="first call", scope=Scope.WRITE, expires_at=expires_at
    )
    template = "console/_first_call.html" if request.htmx else "console/overview.html"
    return render(request, template, {**_context(request), "token": token})


def _context(request: MemberRequest) -> dict[str, Any]:
    found = counts.count_tasks(request.user, now=clock.now())
    return {
        "tenant": request.tenant,
        "counts": [(TITLES[surface], total) for surface, total in found if total],
        "task_count": sum(each.total for each in found),
        "api": request.build_absolute_uri("/").rstrip("/"),
    }
