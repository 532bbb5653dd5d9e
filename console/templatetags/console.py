"""What the templates of the pages share: moments, durations and the states of runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from django import template
from django.contrib.humanize.templatetags.humanize import naturaltime
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from tasks_api.domain.states import UNFINISHED_STATES, RunState
from tasks_api.domain.timestamps import format_timestamp

register = template.Library()


class _Look(NamedTuple):
    """The class that colours a state, and a shape beside the colour."""

    css_class: str
    shape: str
    word: str


_LOOKS = {
    RunState.SUCCEEDED: _Look("delivered", "●", "delivered"),
    RunState.FAILED: _Look("failed", "✕", "failed"),
    RunState.MISSED: _Look("missed", "▲", "missed"),
    RunState.SKIPPED: _Look("left-out", "○", "skipped"),
    RunState.CANCELLED: _Look("left-out", "○", "cancelled"),
    **{state: _Look("waiting", "◌", str(state.value)) for state in UNFINISHED_STATES},
}


@register.simple_tag
def state(name: str) -> SafeString:
    """The state of a run as a word with a shape and a colour."""
    look = _LOOKS[RunState(name)]
    return format_html(
        '<span class="run-state {}"><span aria-hidden="true">{}</span> {}</span>', *look
    )


@register.simple_tag
def dots(runs: Iterable[Any]) -> SafeString:
    """The last runs of a task, newest first, as dots that are links, oldest first.

    A list has hundreds of them, and a template would take ten times as long.
    """
    newest_first: Sequence[Any] = list(runs)
    return format_html(
        '<span class="dots">{}</span>',
        format_html_join("", _DOT, map(_dot, newest_first[::-1])),
    )


_DOT = (
    '<a class="dot {}" href="/app/runs/{}/" title="{} {}">'
    '<span aria-hidden="true">{}</span><span class="hidden">{}</span></a>'
)


def _dot(run: Any) -> tuple[object, ...]:
    look = _LOOKS[RunState(run.state)]
    at = f"{run.scheduled_for.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    return look.css_class, run.run_id, at, look.word, look.shape, look.word


@register.simple_tag
def moment(value: datetime | None) -> SafeString | str:
    """A moment as people say it, such as "3 hours ago", with the exact one beside it."""
    if value is None:
        return "—"
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        value.isoformat(),
        exact(value),
        naturaltime(value),
    )


@register.filter
def exact(value: datetime | None) -> str:
    """A moment as `2026-03-01 09:30:00 UTC`."""
    return "—" if value is None else f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


@register.filter
def instant(value: datetime) -> str:
    """A moment as it stands in URLs, to the microsecond."""
    return format_timestamp(value)


@register.filter
def duration(value: timedelta | float | None) -> str:
    """A timedelta, or seconds, as `350 ms`, `1.2 s`, `2 min 5 s` or `3 h 10 min`."""
    if value is None:
        return "—"
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


@register.filter
def milliseconds(value: float | None) -> str:
    return duration(None if value is None else value / 1000)
