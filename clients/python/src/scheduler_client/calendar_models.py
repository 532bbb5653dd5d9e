"""Calendars of the service as dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Calendar:
    """Days and spans of time with a name. `task_count` is None in lists."""

    name: str
    version: int
    zone: str
    dates: list[str]
    ranges: list[Mapping[str, str]]
    weekdays: list[str]
    holidays: Mapping[str, str] | None
    created_at: datetime
    changed_at: datetime
    task_count: int | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class CalendarVersion:
    """What a calendar contained from one change to the next."""

    version: int
    zone: str
    dates: list[str]
    ranges: list[Mapping[str, str]]
    weekdays: list[str]
    holidays: Mapping[str, str] | None
    created_at: datetime
    created_by: str
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class CalendarEffect:
    """What a change would do to fire times. `effects` has the first tasks that change."""

    task_count: int
    compared: int
    until: datetime
    changed: int
    dropped: int
    added: int
    held: int
    released: int
    effects: list[Mapping[str, Any]]
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class CalendarDay:
    """A day that a calendar has, as `2026-12-24`, whole or in part."""

    day: str
    whole: bool
    holiday: str | None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
