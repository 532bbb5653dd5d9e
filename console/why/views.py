"""The page that answers why a task fires, or does not, at a moment or now."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from console.pages import MemberRequest, for_members
from console.why.content import ShownAnswer, show_answer
from console.why.forms import WhyForm
from tasks_api.domain.cron_text import zone_names
from tasks_api.domain.effort import TooMuch, allowance
from tasks_api.domain.schedule_parts import zone_of
from tasks_api.services import task_details
from tasks_api.services.why import why

# The steps that the schedules of one answer may take, as for one request to the API.
MAX_STEPS = 500_000


@for_members
@require_safe
def why_page(request: MemberRequest, task_id: str) -> HttpResponse:
    task = task_details.find_task(request.user, UUID(task_id)).summary
    form = WhyForm(request.GET, zone=zone_of(task.schedule) if task.schedule else "UTC")
    context: dict[str, Any] = {
        "task": task,
        "form": form,
        "zones": sorted(zone_names()),
    }
    if form.is_valid():
        context["shown"] = _ask(request, task.id, form.moment)
    return render(request, "console/why/why.html", context)


def _ask(
    request: MemberRequest, task_id: UUID, at: datetime | None
) -> ShownAnswer | None:
    """The answer; None if the schedule takes too long to compute."""
    try:
        with allowance(MAX_STEPS, TooMuch):
            return show_answer(request.user, why(request.user, task_id, at))
    except TooMuch:
        return None
