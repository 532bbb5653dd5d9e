"""What lanes say about tasks that are to enter them: rendered, and described."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks_api.api import openapi
from tasks_api.api.tasks.base import InvalidTasks, error_at
from tasks_api.domain.exceptions import DoesNotFit
from tasks_api.domain.lines import SECOND
from tasks_api.domain.timestamps import format_optional_timestamp
from tasks_api.services import admission
from tasks_api.services.admission import LaneVerdict

VERDICTS_OUT: dict[str, Any] = {
    "type": "array",
    "description": "What each lane with a rate says about the periodic tasks that enter it "
    "or change what they bring; absent if there are none.",
    "items": {
        "type": "object",
        "required": ["lane", "rate", "fits", "tasks", "latest_start"],
        "properties": {
            "lane": openapi.text("The name of the lane."),
            "rate": {
                "type": "object",
                "description": "How many runs of the lane may start in so many seconds.",
                "required": ["limit", "seconds"],
                "properties": {
                    "limit": openapi.count("How many runs."),
                    "seconds": openapi.count("How many seconds."),
                },
            },
            "fits": {
                "type": "boolean",
                "description": "Whether no run starts too late because of the tasks. If not, "
                "the service refuses them, unless they say `admit`: `anyway`.",
            },
            "tasks": openapi.count("How many tasks were judged."),
            "latest_start": openapi.count(
                "The most seconds from the fire time of a run, without its spread, to its start."
            ),
            "allowed": openapi.count(
                "If they do not fit: how many seconds the run may take to start."
            ),
            "at": openapi.text(
                "If they do not fit: the fire time of the run that would start too late."
            ),
            "smallest_spread": {
                "type": "integer",
                "nullable": True,
                "description": "If they do not fit: the spread with which they would, or "
                "null if there is none.",
            },
            "message": openapi.text("If they do not fit: the same in a sentence."),
        },
    },
}


def render_verdicts(verdicts: Sequence[LaneVerdict]) -> dict[str, Any]:
    """Return the field of a response; nothing if no lane was asked."""
    judged = [each for each in verdicts if each.indexes]
    return {"admission": [_render_verdict(each) for each in judged]} if judged else {}


def _render_verdict(each: LaneVerdict) -> dict[str, Any]:
    lane, verdict = each.lane, each.verdict
    shown: dict[str, Any] = {
        "lane": lane.name,
        "rate": {
            "limit": lane.capacity.limit,
            "seconds": lane.capacity.per // SECOND,
        },
        "fits": verdict.fits,
        "tasks": len(each.indexes),
        "latest_start": verdict.seconds_to_start,
    }
    if verdict.fits:
        return shown
    return {
        **shown,
        "allowed": round(verdict.allowed),
        "at": format_optional_timestamp(verdict.at),
        "smallest_spread": verdict.smallest_spread,
        "message": admission.explain(each),
    }


def first_misfit(error: DoesNotFit) -> InvalidTasks:
    """Return the error of a list of tasks, with the first of those that do not fit."""
    first, others = error.indexes[0], len(error.indexes) - 1
    also = f"; the same is true of {others:,} other tasks" if others else ""
    same = DoesNotFit(
        error.field,
        f"{error}{also}",
        lane=error.lane,
        smallest_spread=error.smallest_spread,
        indexes=error.indexes,
    )
    entry = {**error_at(first, same), "lane": error.lane}
    return InvalidTasks([{**entry, "smallest_spread": error.smallest_spread}])
