"""The overview of a tenant, which teaches the first call while there is nothing to see."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST, require_safe

from accounts import services as accounts
from accounts.models import Scope
from console.live import render_live
from console.overview.content import read_overview
from console.overview.load import read_coming_load
from console.pages import MemberRequest, for_members
from scheduler_service.db import clock

# A token for a trial; the settings issue tokens that live longer.
TRIAL_LIFETIME = timedelta(days=30)
# The seconds between two polls of a page that waits for the first task, and of others,
# which may count hundreds of thousands of runs.
WAITING_POLL, POLL = 3, 15


@for_members
@require_safe
def overview(request: MemberRequest) -> HttpResponse:
    now = clock.now()
    found = read_overview(request.user, now=now)
    context = {
        **_first_call(request),
        "overview": found,
        # Only the whole page asks for it.
        "load": partial(read_coming_load, request.user, now=now),
    }
    return render_live(
        request,
        "console/overview/overview.html",
        "console/overview/_overview.html",
        context,
        seconds=WAITING_POLL if found.is_empty else POLL,
    )


@for_members
@require_POST
def issue_trial_token(request: MemberRequest) -> HttpResponse:
    """Issue a token and show it once, in the command of the first call."""
    expires_at = clock.now() + TRIAL_LIFETIME
    token = accounts.issue_token(
        request.user, name="first call", scope=Scope.WRITE, expires_at=expires_at
    )
    context = {**_first_call(request), "token": token}
    if request.htmx:
        return render(request, "console/overview/_first_call.html", context)
    return render(request, "console/overview/first_call.html", context)


def _first_call(request: MemberRequest) -> dict[str, Any]:
    return {
        "tenant": request.tenant.name,
        "api": request.build_absolute_uri("/").rstrip("/"),
    }
