"""What the page shows of an answer: its verdict in words, and links to what proves it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlencode
from uuid import UUID

from accounts.models import Role, User
from console.links import page_of
from tasks_api.domain.schedule_words import schedule_words
from tasks_api.domain.timestamps import format_timestamp
from tasks_api.domain.why.answers import Answer
from tasks_api.domain.why.causes import Verdict
from tasks_api.domain.why.facts import Facts
from tasks_api.domain.why.found import Evidence
from tasks_api.services.why import outcome_of_moment

# Entries of the audit log this near to a change are shown with it.
NEAR = timedelta(seconds=1)
KIND_WORDS = {"audit": "audit log", "change": "change of the schedule"}


class Look(NamedTuple):
    """The class that colours a verdict, a shape beside the colour, and words."""

    css_class: str
    shape: str
    words: str


LOOKS = {
    Verdict.DELIVERED: Look("delivered", "●", "It was delivered"),
    Verdict.FAILED: Look("failed", "✕", "It failed"),
    Verdict.WAITING: Look("waiting", "◌", "It waits, or is under way"),
    Verdict.DID_NOT_FIRE: Look("missed", "▲", "It did not fire"),
    Verdict.WILL_FIRE: Look("waiting", "◌", "It will fire"),
    Verdict.WONT_FIRE: Look("left-out", "○", "It will not fire"),
    Verdict.NOT_KEPT: Look("left-out", "○", "Nothing is kept of that time"),
}


class Proof(NamedTuple):
    """A row that proves a cause; without a page of its own, `url` is empty."""

    kind: str
    text: str
    at: datetime | None
    url: str


class NeighbourRow(NamedTuple):
    """The fire time before or after the moment, and what became of it in words."""

    title: str
    at: datetime
    outcome: str
    run_id: UUID | None


class ShownAnswer(NamedTuple):
    answer: Answer
    look: Look
    schedule: str
    # What became of the planned fire time.
    outcome: str
    proofs: list[Proof]
    neighbours: list[NeighbourRow]
    lane_url: str


def show_answer(user: User, answer: Answer) -> ShownAnswer:
    phase, run = answer.schedule, answer.facts.run
    schedule = None if phase is None else phase.schedule
    outcome = outcome_of_moment(answer.facts)
    lane = None if run is None else run.lane
    return ShownAnswer(
        answer,
        LOOKS[answer.verdict],
        schedule_words(schedule) if schedule else "",
        _in_words(outcome) if outcome else "",
        [_proof(user, answer, each) for each in answer.evidence],
        list(_neighbours(answer.facts)),
        page_of("console-lane", lane.name) if lane else "",
    )


def _neighbours(facts: Facts) -> Iterator[NeighbourRow]:
    for title, each in (("Before it", facts.previous), ("After it", facts.next)):
        if each is not None:
            without = "planned" if each.at > facts.now else "without a run"
            outcome = _in_words(each.outcome) if each.outcome else without
            yield NeighbourRow(title, each.at, outcome, each.run_id)


def _in_words(outcome: str) -> str:
    return outcome.replace("_", " ")


def _proof(user: User, answer: Answer, each: Evidence) -> Proof:
    kind = KIND_WORDS.get(each.kind, each.kind)
    return Proof(kind, each.text, each.at, _url_of(user, answer, each))


def _url_of(user: User, answer: Answer, each: Evidence) -> str:
    match each.kind:
        case "run" | "attempt":
            return f"/app/runs/{each.id}/"
        case "task":
            return f"/app/tasks/{each.id}/"
        case "calendar":
            return page_of("console-days", each.id or "")
        case "audit" | "change" if each.at is not None and user.role == Role.ADMIN:
            is_of_task = each.kind == "change"
            return _audit_url(
                each.at, answer.facts.task.task_id if is_of_task else None
            )
    return ""


def _audit_url(at: datetime, task_id: UUID | None) -> str:
    """The audit log about the moment of a change, as administrators read it."""
    query = {
        "object": str(task_id) if task_id else "",
        "from": format_timestamp(at.replace(microsecond=0) - NEAR),
        "to": format_timestamp(at.replace(microsecond=0) + 2 * NEAR),
    }
    given = {name: value for name, value in query.items() if value}
    return f"/app/settings/audit/?{urlencode(given)}"
