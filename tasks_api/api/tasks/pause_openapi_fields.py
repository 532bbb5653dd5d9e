"""The schemas of pauses, resumes and changes of the tasks of a filter."""

from __future__ import annotations

from typing import Any

from tasks_api.api import openapi
from tasks_api.domain.catch_up import CatchUp
from tasks_api.services.task_selection import MAX_TASKS

_IDS = {
    "ids": {
        "type": "array",
        "minItems": 1,
        "description": "The ids of the tasks.",
        "items": openapi.TEXT,
    }
}
_HOLD = openapi.optional(
    {
        "reason": openapi.text(
            "Why they are paused, at most 1000 characters; shown as `pause_reason`.",
            maxLength=1000,
        ),
        "until": openapi.text(
            "When they resume by themselves, in ISO 8601; shown as `resume_at`."
        ),
        "catch_up": openapi.text(
            "Which fire times of the pause they make up for when they resume: none, the "
            "latest one, or all, which are the newest 100. A resume may say otherwise.",
            enum=[each.value for each in CatchUp],
        ),
    }
)
_RESUME = openapi.optional(
    {
        "catch_up": openapi.text(
            "Which fire times of the pause they make up for: none, the latest one, or "
            "all, which are the newest 100; by default, what the pause said.",
            enum=[each.value for each in CatchUp],
        )
    }
)
FILTER: dict[str, Any] = {
    "type": "object",
    "description": "Which tasks: those that the list of tasks shows with these filters. "
    "At least one is needed beside `owner`.",
    "minProperties": 1,
    "properties": openapi.optional(
        {
            "name": openapi.text("The task of this name."),
            "name_prefix": openapi.text("Tasks whose names begin so."),
            "host": openapi.text(
                "Tasks that call this host, with its port or without."
            ),
            "search": openapi.text(
                "Tasks with this text in their name, host, queue or a tag."
            ),
            "lane": openapi.text("Tasks that belong to this lane."),
            "state": openapi.text("Tasks in this state.", enum=["active", "paused"]),
            "task_type": openapi.text(
                "Tasks of this type.", enum=["periodic", "one_time", "interval"]
            ),
            "created_after": openapi.text("Tasks created at this moment or later."),
            "created_before": openapi.text("Tasks created before this moment."),
            "next_run_after": openapi.text(
                "Tasks whose next run is at this moment or later."
            ),
            "next_run_before": openapi.text(
                "Tasks whose next run is before this moment."
            ),
            "owner": openapi.text(
                "For administrators: the name of a user of the tenant, or `all`."
            ),
        }
    )
    | {
        "tag": {
            "description": "Tasks with this tag, or with all of a list of tags.",
            "oneOf": [
                {"type": "string"},
                {"type": "array", "minItems": 1, "items": {"type": "string"}},
            ],
        }
    },
}
PLAN_CHANGED = "The plan is another one now; look at it again"
DRY_RUN: dict[str, Any] = openapi.optional(
    {
        "dry_run": {
            "type": "boolean",
            "description": "Whether to return the plan only, and change nothing.",
        },
        "hash": openapi.text(
            "The `hash` of a dry run. If the tasks are others by now, the response is "
            "409 and nothing happens."
        ),
    }
)


_LIMIT: dict[str, Any] = openapi.optional(
    {
        "limit": {
            "type": "integer",
            "minimum": 1,
            "maximum": MAX_TASKS,
            "description": "How many tasks to change at most, the oldest first.",
        }
    }
)


def _object(required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": [required], "properties": properties}


HOLD_IN: dict[str, Any] = {"type": "object", "properties": _HOLD}
RESUME_IN: dict[str, Any] = {"type": "object", "properties": _RESUME}
PAUSE_IDS_IN = _object("ids", **_IDS, **_HOLD) | {"title": "ids"}
RESUME_IDS_IN = _object("ids", **_IDS, **_RESUME) | {"title": "ids"}
PAUSE_FILTER_IN = _object("filter", filter=FILTER, **_HOLD, **DRY_RUN, **_LIMIT) | {
    "title": "filter"
}
RESUME_FILTER_IN = _object("filter", filter=FILTER, **_RESUME, **DRY_RUN, **_LIMIT) | {
    "title": "filter"
}
PAUSE_MANY_IN = {"oneOf": [PAUSE_IDS_IN, PAUSE_FILTER_IN]}
RESUME_MANY_IN = {"oneOf": [RESUME_IDS_IN, RESUME_FILTER_IN]}

NAMED_TASK: dict[str, Any] = {
    "type": "object",
    "required": ["id", "name"],
    "properties": {
        "id": openapi.text("The id of the task."),
        "name": openapi.text("The name of the task; empty if it has none."),
    },
}
PLAN_OUT: dict[str, Any] = {
    "dry_run": {
        "type": "boolean",
        "description": "Whether this is a plan (true) or was done (false).",
    },
    "hash": openapi.text(
        "A fingerprint of the plan; send it to change exactly these tasks."
    ),
    "count": openapi.count(f"How many tasks there are, at most {MAX_TASKS}."),
    "has_more": {
        "type": "boolean",
        "description": "Whether the filter finds more tasks; repeat the request for them.",
    },
    "tasks": {
        "type": "array",
        "maxItems": 100,
        "description": "The first 100 of the tasks, the oldest first.",
        "items": NAMED_TASK,
    },
}
MANY_OUT = {
    "type": "object",
    "required": ["message"],
    "description": "With `ids` there is the message only.",
    "properties": {"message": openapi.DONE_MESSAGE, **PLAN_OUT},
}
