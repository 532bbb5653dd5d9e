"""The fields that say why tasks are paused, until when, and what they make up for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tasks_api.api import fields
from tasks_api.api.tasks.field_types import enum_member
from tasks_api.domain.catch_up import CatchUp
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.services.pausing import Hold

_NAMES = ("reason", "until", "catch_up")


def read_hold(data: Mapping[str, Any], now: datetime) -> Hold | None:
    """Why, and until when; None keeps what a paused task says."""
    if not any(fields.is_given(data, name) for name in _NAMES):
        return None
    until = fields.optional_moment(data, "until")
    if until is not None and until <= now:
        raise InvalidTask("until", "until should be in the future")
    return Hold(fields.reason(data), until, read_catch_up(data) or CatchUp.NONE)


def read_catch_up(data: Mapping[str, Any]) -> CatchUp | None:
    """Which fire times of a pause tasks make up for; None if the request does not say."""
    if not fields.is_given(data, "catch_up"):
        return None
    return CatchUp(enum_member(data, "catch_up", CatchUp.NONE))
