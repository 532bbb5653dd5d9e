"""The bounds of a token in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from django.contrib.humanize.templatetags.humanize import intcomma
from django.template.defaultfilters import filesizeformat

from accounts.models import TokenBounds
from accounts.services.token_bounds import bounds_of
from tasks_api.domain.bounds import Bounds
from tasks_api.domain.schedule_words import duration_words


def bounds_sentences(row: TokenBounds | None) -> list[str]:
    """Say what a token can do at most, and what is made with it; nothing without bounds."""
    if row is None:
        return []
    bounds = bounds_of(row)
    return [*_of_requests(bounds), *_of_tasks(bounds), *_of_calls(bounds)]


def _of_requests(bounds: Bounds) -> Iterator[str]:
    if bounds.hosts is not None:
        yield f"Its tasks call {_only(bounds.hosts)}."
    if bounds.paths is not None:
        yield f"They call {_only(bounds.paths)}, and what is below."
    if bounds.methods is not None:
        yield f"They send {_only(bounds.methods)}."
    if bounds.runs_per_day is not None:
        yield f"At most {_count(bounds.runs_per_day, 'request')} of them start in any 24 hours."


def _of_tasks(bounds: Bounds) -> Iterator[str]:
    if bounds.tasks is not None:
        yield f"At most {_count(bounds.tasks, 'task')} of it are there at a time."
    if bounds.tags:
        yield f"Each of its tasks has the tags {', '.join(bounds.tags)}."
    if bounds.payload_bytes is not None:
        yield f"The body of a task has at most {filesizeformat(bounds.payload_bytes)}."
    if bounds.horizon is not None:
        yield f"All fire times of a task lie within {_time(bounds.horizon)} of its last change."
    if bounds.renew_within is not None:
        yield (
            f"What it made ends {_time(bounds.renew_within)} after its last renewal."
        )


def _of_calls(bounds: Bounds) -> Iterator[str]:
    if bounds.requests_per_minute is not None:
        yield f"At most {_count(bounds.requests_per_minute, 'request')} to the API a minute."


def _only(allowed: Sequence[str]) -> str:
    return f"only {' or '.join(allowed)}" if allowed else "nothing"


def _count(number: int, noun: str) -> str:
    return f"{intcomma(number)} {noun}{'' if number == 1 else 's'}"


def _time(seconds: int) -> str:
    return duration_words(timedelta(seconds=seconds))
