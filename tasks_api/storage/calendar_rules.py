"""The versions of calendars that tasks follow: their text in a column, and what it means.

A version never changes, so each process reads it once. Versions are named by the ids of
their rows, which no other version gets, even if the transaction that made one is undone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from tasks_api.domain.calendars import CalendarRules, OnExcluded
from tasks_api.domain.day_sets import CalendarDays
from tasks_api.domain.exceptions import ScheduleError
from tasks_api.models import CalendarVersion

# The lists of a text, each of pairs: the id of a calendar, and that of its version.
LISTS = ("exclude", "only", "hold")
# In a text, what only the rules of a task that waits have.
HOLD_MARK = '"hold"'


def rules_to_text(rules: CalendarRules) -> str:
    """Return the text of a task's column."""
    lists = {name: getattr(rules, name) for name in LISTS}
    content: dict[str, Any] = {
        name: [[each.calendar_id, each.version_id] for each in given]
        for name, given in lists.items()
        if given
    }
    if rules.on_excluded != OnExcluded.SKIP:
        content["on_excluded"] = rules.on_excluded.value
    if rules.pace:
        content["pace"] = rules.pace
    return json.dumps(content, separators=(",", ":")) if content else ""


@lru_cache(maxsize=10_000)
def rules_of(text: str) -> CalendarRules:
    """Return the rules of a task's column. Raises ScheduleError if a version is gone."""
    content = json.loads(text)
    lists = {
        name: tuple(version_of(version_id) for _, version_id in content.get(name, ()))
        for name in LISTS
    }
    return CalendarRules(
        **lists,
        on_excluded=OnExcluded(content.get("on_excluded", OnExcluded.SKIP)),
        pace=content.get("pace", ""),
    )


@lru_cache(maxsize=2_000)
def version_of(version_id: int) -> CalendarDays:
    rows = CalendarVersion.objects.filter(pk=version_id)
    row = rows.select_related("calendar").first()
    if row is None:
        raise ScheduleError("A calendar of the task does not exist any more.")
    return days_of(row)


def days_of(row: CalendarVersion) -> CalendarDays:
    return CalendarDays.from_content(
        row.content,
        row.holidays,
        version_id=row.pk,
        calendar_id=row.calendar_id,
        name=row.calendar.name,
        number=row.number,
        zone=row.zone,
    )


def mark_of(calendar_id: int) -> str:
    """Return what the text of each task that follows a calendar contains."""
    return f"[{calendar_id},"


def replace_version(text: str, calendar_id: int, version_id: int) -> str:
    """Return the text with another version of a calendar."""
    content = json.loads(text)
    for name in LISTS:
        content[name] = [
            [given, version_id if given == calendar_id else version]
            for given, version in content.get(name, ())
        ]
    ordered = {name: content[name] for name in LISTS if content[name]}
    rest = {name: value for name, value in content.items() if name not in LISTS}
    return json.dumps(ordered | rest, separators=(",", ":"))


def lists_with(text: str, calendar_id: int) -> tuple[str, ...]:
    """Return the lists of a text that have a calendar: `exclude`, `only` and `hold`."""
    content = json.loads(text)
    return tuple(
        name
        for name in LISTS
        if any(given == calendar_id for given, _ in content.get(name, ()))
    )


def calendars_in(text: str) -> set[int]:
    """Return the ids of all calendars of a text."""
    content = json.loads(text)
    return {given for name in LISTS for given, _ in content.get(name, ())}


def calendars_that_hold(texts: Iterable[str]) -> set[int]:
    """Return the ids of the calendars that hold runs back by some texts."""
    return {
        calendar_id
        for text in texts
        if HOLD_MARK in text
        for calendar_id, _ in json.loads(text)["hold"]
    }
