"""The fields by which fire times are spread, and tasks admitted to their lanes.

The rules are in docs/reference/policies.md and docs/reference/admission.md.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from tasks_api.api import fields, openapi
from tasks_api.api.tasks.field_types import Fields, OptionalField, column
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.schedule_parts import parts_of
from tasks_api.domain.schedules import Interval
from tasks_api.domain.specs import Admit, RequestOptions, TaskSpec
from tasks_api.models import Task

DAY = 24 * 3600
# The spread that the service chooses.
AUTO = "auto"


def _read_spread(given: Fields, spec: TaskSpec, now: datetime) -> Fields:
    if given.get("spread") == AUTO:
        return {"spread_auto": True}
    seconds: int = fields.number(given, "spread", 0, DAY)
    intervals = [each for each in parts_of(spec.schedule) if isinstance(each, Interval)]
    if seconds and any(timedelta(seconds=seconds) >= each.every for each in intervals):
        fields.raise_invalid("spread", "should be less than frequency")
    return {"spread": seconds}


def _show_spread(task: Task, options: RequestOptions) -> int | str:
    return AUTO if task.spread_auto else task.spread


def _show_spread_offset(task: Task, options: RequestOptions) -> int | None:
    return task.spread_offset if task.spread_auto else None


def _read_admit(given: Fields, spec: TaskSpec, now: datetime) -> Fields:
    if given["admit"] != Admit.ANYWAY:
        raise InvalidTask("admit", "Invalid value of admit. Value should be anyway")
    return {"admit": Admit.ANYWAY}


def _read_nothing(given: Fields, spec: TaskSpec, now: datetime) -> Fields:
    """Ignore a field that only responses have, so that a client may send it back."""
    return {}


_SPREAD_SCHEMA = {
    "description": "The number of seconds over which the service spreads the runs of "
    "tasks with the same schedule; less than `frequency`. With `auto` the service chooses "
    "the emptiest place.",
    "oneOf": [
        {"type": "integer", "minimum": 0, "maximum": DAY},
        {"type": "string", "enum": [AUTO]},
    ],
}
SPREAD_FIELDS = (
    OptionalField(
        "spread",
        _SPREAD_SCHEMA,
        _read_spread,
        _show_spread,
        default=0,
        needs_periodic=True,
    ),
    OptionalField(
        "spread_offset",
        {
            "type": "integer",
            "minimum": 0,
            "maximum": DAY,
            "description": "With `spread` `auto`: the seconds after its schedule at which the "
            "task fires. The service chooses them, and ignores the field in requests.",
        },
        _read_nothing,
        _show_spread_offset,
        needs_periodic=True,
    ),
    OptionalField(
        "admit",
        openapi.text(
            "`anyway` lets the task into its lane even if it makes runs late there. If absent, "
            "the service refuses a periodic task that does not fit the rate of its lane.",
            enum=[Admit.ANYWAY.value],
        ),
        _read_admit,
        column("admit"),
        default=Admit.FITTING,
    ),
)
