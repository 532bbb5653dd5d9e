"""What a rule finds: a cause with its message, its time and its evidence."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from tasks_api.domain.timestamps import format_timestamp
from tasks_api.domain.why.causes import WORDS, Cause, Verdict
from tasks_api.domain.why.facts import Deed, Gap, RunFacts


class Evidence(NamedTuple):
    """A row that proves a cause."""

    # run, attempt, change, audit, gap, calendar or task.
    kind: str
    text: str
    id: str | None = None
    at: datetime | None = None


@dataclass(frozen=True)
class FoundCause:
    cause: Cause
    message: str = ""
    since: datetime | None = None
    until: datetime | None = None
    evidence: tuple[Evidence, ...] = ()

    @property
    def words(self) -> str:
        return self.message or WORDS[self.cause].message

    @property
    def hint(self) -> str:
        return WORDS[self.cause].hint


class Ruling(NamedTuple):
    """The verdict on a moment, and its decisive cause."""

    verdict: Verdict
    found: FoundCause


def with_detail(cause: Cause, detail: str) -> str:
    """Return the words of a cause with a detail after them."""
    words = WORDS[cause].message
    return f"{words.removesuffix('.')}: {detail}" if detail else words


def evidence_of_run(run: RunFacts) -> Evidence:
    text = f"{run.state}, {run.reason}" if run.reason else str(run.state.value)
    return Evidence("run", text, str(run.run_id), run.scheduled_for)


def evidence_of_deed(deed: Deed) -> Evidence:
    text = f"{deed.action} by {deed.actor} ({deed.via})"
    return Evidence("audit", text, str(deed.entry_id), deed.at)


def evidence_of_gap(gap: Gap) -> Evidence:
    until = format_timestamp(gap.ended_at) if gap.ended_at else "now"
    what = (
        "the broker took no messages" if gap.kind == "broker" else f"no {gap.kind} seen"
    )
    text = f"{what} from {format_timestamp(gap.began_at)} to {until}"
    if gap.is_restart:
        text += "; PostgreSQL was started in that time"
    return Evidence("gap", text, None, gap.began_at)
