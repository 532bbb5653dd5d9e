"""The views of runs: the list with its filters, and the story of a run with its buttons."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from console.curl import curl_command
from console.lanes.words import states_of
from console.pages import MemberRequest, for_members, render_unless_seen
from console.runs.queries import read_query
from console.runs.timeline import draw_timeline
from scheduler_service.db import clock
from tasks_api.domain.exceptions import InvalidState, LimitReached
from tasks_api.domain.states import RunState
from tasks_api.services import cancellation, redrive, run_stories
from tasks_api.services.bell import announce_after_commit, ring_after_commit
from tasks_api.services.masked_requests import MASKED

CANCELLED = {
    RunState.CANCELLED: "The run is cancelled.",
    RunState.RUNNING: "The run is marked as cancelled.",
}
# The characters of a request's body that a page shows.
MAX_BODY_SHOWN = 16 * 1024


@for_members
@require_safe
def run_list(request: MemberRequest) -> HttpResponse:
    query = read_query(request)
    template = "console/runs/_list.html" if request.htmx else "console/runs/list.html"
    return render_unless_seen(request, query.found.version, template, query.context)


@for_members
@require_safe
def run_detail(request: MemberRequest, run_id: str) -> HttpResponse:
    found = _parse_id(run_id)
    template = "console/runs/_story.html" if request.htmx else "console/runs/run.html"
    version = run_stories.story_version(request.user, found)
    return render_unless_seen(
        request, version, template, lambda: _story_context(request, found)
    )


def _story_context(request: MemberRequest, run_id: UUID) -> dict[str, object]:
    story = run_stories.read_story(request.user, run_id)
    last = story.attempts[-1] if story.attempts else None
    curl, now = curl_command(story.request), clock.now()
    return {
        "story": story,
        "run": story.run,
        "task": story.task.name or story.task,
        "last_attempt": last and last.attempt,
        "last_attempt_took": last and last.duration,
        "masked": MASKED,
        "body": story.request.body[:MAX_BODY_SHOWN],
        "steps": draw_timeline(story, now=now),
        "lane_states": states_of(story.lane, now) if story.waits_in_lane else [],
        "curl": curl,
        "curl_rows": min(12, curl.count("\n") + 1),
    }


def _parse_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Http404 from None


@for_members
@require_POST
def redrive_run(request: MemberRequest, run_id: str) -> HttpResponse:
    try:
        made = redrive.redrive_run(request.user, _parse_id(run_id))
    except (InvalidState, LimitReached) as refusal:
        messages.error(request, f"{refusal}.")
        return redirect("console-run", run_id)
    ring_after_commit()
    messages.success(request, "This run sends it again.")
    return redirect("console-run", made.run_ids[0])


@for_members
@require_POST
def cancel_run(request: MemberRequest, run_id: str) -> HttpResponse:
    try:
        run = cancellation.cancel_run(request.user, _parse_id(run_id))
    except InvalidState as refusal:
        messages.error(request, f"{refusal}.")
    else:
        announce_after_commit([run])
        messages.success(request, CANCELLED[run.state])
    return redirect("console-run", run_id)
