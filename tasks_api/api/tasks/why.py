"""The view that answers why a task fired, did not fire or will not fire at a moment."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from tasks_api.api import fields
from tasks_api.api.tasks import why_openapi as schema
from tasks_api.api.tasks.base import TasksView
from tasks_api.domain.schedule_words import schedule_words
from tasks_api.domain.timestamps import format_optional_timestamp
from tasks_api.domain.why.answers import Answer
from tasks_api.domain.why.facts import AttemptFacts, Deed, Neighbour, RunFacts
from tasks_api.domain.why.found import Evidence, FoundCause
from tasks_api.services import finding, why


class WhyView(TasksView):
    @schema.why
    def get(self, request: Request, task_id: str) -> Response:
        at = fields.optional_moment(fields.query_parameters(request), "at")
        answer = why.why(self.user, finding.parse_id(task_id), at)
        return Response(render_answer(answer))


def render_answer(answer: Answer) -> dict[str, Any]:
    facts = answer.facts
    return {
        "at": format_optional_timestamp(facts.asked),
        "verdict": answer.verdict,
        "cause": _render_cause(answer.cause),
        "held_by": [_render_cause(each) for each in answer.held_by],
        "schedule": _render_schedule(answer),
        "planned": _render_planned(answer),
        "run": facts.run and _render_run(facts.run),
        "attempts": [_render_attempt(each) for each in answer.attempts],
        "previous": _render_neighbour(facts.previous),
        "next": _render_neighbour(facts.next),
        "evidence": [_render_evidence(each) for each in answer.evidence],
    }


def _render_cause(found: FoundCause) -> dict[str, Any]:
    return {
        "code": found.cause,
        "message": found.words,
        "hint": found.hint,
        **_render_time(found.since, found.until),
    }


def _render_time(since: datetime | None, until: datetime | None) -> dict[str, Any]:
    return {
        "since": format_optional_timestamp(since),
        "until": format_optional_timestamp(until),
    }


def _render_schedule(answer: Answer) -> dict[str, Any] | None:
    phase = answer.schedule
    if phase is None:
        return None
    schedule = phase.schedule
    return {
        "words": None if schedule is None else schedule_words(schedule),
        "paused": phase.is_paused,
        **_render_time(phase.since, phase.until),
        "written_by": _render_deed(answer.author),
    }


def _render_deed(deed: Deed | None) -> dict[str, Any] | None:
    if deed is None:
        return None
    at = format_optional_timestamp(deed.at)
    return {"actor": deed.actor, "via": deed.via, "action": deed.action, "at": at}


def _render_planned(answer: Answer) -> dict[str, Any] | None:
    planned = answer.facts.planned
    if planned is None:
        return None
    at = format_optional_timestamp(planned)
    return {"at": at, "outcome": why.outcome_of_moment(answer.facts)}


def _render_run(run: RunFacts) -> dict[str, Any]:
    return {
        "id": str(run.run_id),
        "scheduled_for": format_optional_timestamp(run.scheduled_for),
        "state": run.state,
        "reason": run.reason,
        "manual": run.by_hand,
        "started_at": format_optional_timestamp(run.started_at),
        "finished_at": format_optional_timestamp(run.finished_at),
        "attempt_count": run.attempt_count,
    }


def _render_attempt(attempt: AttemptFacts) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "started_at": format_optional_timestamp(attempt.started_at),
        "duration_ms": attempt.duration_ms,
        "status_code": attempt.status_code,
        "error": attempt.error,
    }


def _render_neighbour(each: Neighbour | None) -> dict[str, Any] | None:
    if each is None:
        return None
    return {
        "at": format_optional_timestamp(each.at),
        "outcome": each.outcome,
        "run_id": each.run_id and str(each.run_id),
    }


def _render_evidence(each: Evidence) -> dict[str, Any]:
    is_run = each.kind in ("run", "attempt") and each.id is not None
    url = f"/runs/{each.id}/" if is_run else None
    if each.kind == "task":
        url = f"/tasks/id/{each.id}"
    at = format_optional_timestamp(each.at)
    return {"kind": each.kind, "id": each.id, "url": url, "at": at, "text": each.text}
