"""The schemas of tasks, of lists of them and of responses in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from tasks_api.api import openapi
from tasks_api.api.tasks import optional_fields, rule_fields
from tasks_api.domain.states import RunState


def _moment(description: str) -> dict[str, Any]:
    return openapi.text(
        f"{description}: YYYY-MM-DD HH:MM:SS in UTC, or null.", nullable=True
    )


_FREQUENCY = {
    "description": "Seconds between two fire times: a number, its digits in a string, or an "
    "object whose parts are added up.",
    "oneOf": [
        {"type": "integer", "minimum": 1, "maximum": 2**31 - 1},
        {"type": "string", "pattern": "^[0-9]+$"},
        {
            "type": "object",
            "properties": {
                part: openapi.count(f"How many {part}.")
                for part in ("weeks", "days", "hours", "minutes", "seconds")
            },
            "additionalProperties": False,
        },
    ],
}
_TAGS = {
    "type": "array",
    "description": "Labels that find the task in lists, and that `apply` selects "
    "tasks by.",
    "maxItems": 50,
    "items": {"type": "string", "minLength": 1, "maxLength": 100},
}
_SHARED_FIELDS: dict[str, dict[str, Any]] = {
    "url": {
        "type": "string",
        "description": "The absolute URL that the request is sent to. Credentials in it "
        "are sent as HTTP Basic. Either this or `queue` is required.",
        "nullable": True,
    },
    "queue": openapi.NAME
    | {
        "description": "The pull queue that gets `post_data` as a job, instead of a URL.",
        "nullable": True,
    },
    "post_data": {
        "type": "object",
        "additionalProperties": True,
        "description": "The body of the request, a JSON object; `{}` if absent.",
    },
    **optional_fields.REQUEST_SCHEMAS,
    "name": openapi.NAME
    | {
        "description": "Your name for the task, by which you can read, replace and "
        "remove it. Only one task of your tenant has it at a time.",
        "nullable": True,
    },
    "tags": _TAGS | {"nullable": True},
    "paused": {
        "type": "boolean",
        "nullable": True,
        "description": "True pauses the task, and false resumes it. If absent, a task "
        "stays as it is, and a new one is active.",
    },
}
_PERIODIC_FIELDS: dict[str, dict[str, Any]] = {
    "task_type": {
        "type": "string",
        "description": "`periodic`, in any case; `interval` means the same.",
        "enum": ["periodic", "interval"],
    },
    "frequency": _FREQUENCY | {"title": "this, or cron"},
    "cron": openapi.CRON | {"title": "this, or frequency", "nullable": True},
    "rrule": rule_fields.RRULE | {"nullable": True},
    "schedules": rule_fields.SCHEDULES | {"nullable": True},
    "timezone": {
        "type": "string",
        "nullable": True,
        "title": "for cron and rrule",
        "description": "The IANA time zone of the cron expression or of the rule, such as "
        "`Europe/Berlin`; UTC if absent.",
    },
    "start_datetime": openapi.text(
        "The first fire time, or with `cron` the earliest one: an ISO 8601 date and time in the "
        "future, in UTC without an offset.",
        nullable=True,
    ),
    "end_datetime": openapi.text(
        "The last moment at which the task may fire: an ISO 8601 date and time, in UTC without "
        "an offset. With null the task has no end.",
        nullable=True,
    ),
    "stop_datetime": openapi.text("Another name for `end_datetime`.", nullable=True),
}
_ONE_TIME_FIELDS: dict[str, dict[str, Any]] = {
    "task_type": openapi.text("`one_time`, in any case.", enum=["one_time"]),
    "run_datetime": openapi.text(
        "When the task runs: an ISO 8601 date and time in the future. Without an offset it is "
        "in `timezone`, or in UTC."
    ),
    "timezone": openapi.text(
        "The IANA time zone of a `run_datetime` without an offset; UTC if absent.",
        nullable=True,
    ),
}
TASK_OUT: dict[str, Any] = {
    "type": "object",
    "required": ["id", "url", "task_type", "post_data", "next_run_datetime"],
    "properties": {
        "id": openapi.text("The id of the task."),
        "url": openapi.text(
            "The URL that the request is sent to, with *** for credentials in it; null "
            "with a queue.",
            nullable=True,
        ),
        "queue": openapi.text("The pull queue that gets `post_data` as a job."),
        "task_type": openapi.text(
            "Whether the task repeats.", enum=["periodic", "one_time"]
        ),
        "outcomes": {
            "type": "array",
            "description": "In a list with `outcomes`: the last runs of the task, the "
            "newest fire time first.",
            "items": {
                "type": "object",
                "required": ["run_id", "scheduled_for", "state"],
                "properties": {
                    "run_id": openapi.text("The id of the run."),
                    "scheduled_for": openapi.text("Its fire time, in UTC."),
                    "state": openapi.text("Its state.", enum=list(RunState.values)),
                },
            },
        },
        "post_data": {
            "type": "object",
            "additionalProperties": True,
            "nullable": True,
            "description": "The body of the request, as it was posted.",
        },
        "frequency": {
            "type": "integer",
            "nullable": True,
            "description": "Seconds between two fire times; null with `cron`.",
        },
        "cron": openapi.text("The cron expression, as it was posted."),
        "rrule": openapi.text("The recurrence rule, with its DTSTART."),
        "schedules": rule_fields.SCHEDULES,
        "timezone": openapi.text(
            "The time zone of the cron expression or of the rule."
        ),
        "start_datetime": _moment("The start of a periodic task"),
        "end_datetime": _moment("The end of a periodic task"),
        "run_datetime": _moment("When a one-time task runs"),
        "next_run_datetime": _moment("When the task fires next"),
        "paused": {
            "type": "boolean",
            "enum": [True],
            "description": "True while the task is paused, and absent otherwise.",
        },
        "pause_reason": openapi.text(
            "Why the service or a user paused the task; absent if nobody said."
        ),
        "resume_at": openapi.text(
            "When the paused task resumes by itself, in UTC; absent if it does not."
        ),
        "catch_up": openapi.text(
            "Which fire times of the pause the task makes up for when it resumes; absent "
            "if it makes up for none.",
            enum=["latest", "all"],
        ),
        **optional_fields.RESPONSE_SCHEMAS,
        "runs_left": {
            "type": "integer",
            "minimum": 0,
            "description": "How many runs the schedule of a task with `max_runs` may still "
            "make.",
        },
        "name": openapi.text("Your name for the task; absent if it has none."),
        "tags": _TAGS,
    },
}
_DOCUMENTED = {
    "frequency",
    "task_type",
    "start_datetime",
    "end_datetime",
    "stop_datetime",
}
# The document that the format was built from lacks these.
EXTENSIONS = (
    (_PERIODIC_FIELDS | _SHARED_FIELDS).keys() - _DOCUMENTED - {"url", "post_data"}
)
# A client may send a response back as it is, also with the fields of the other type.
_IGNORED_FIELDS = dict.fromkeys(
    _PERIODIC_FIELDS | _ONE_TIME_FIELDS | TASK_OUT["properties"], openapi.IGNORED
)


def task_in(*required: str, **more: dict[str, Any]) -> dict[str, Any]:
    """The schema of a task in a request, of either type, with `more` fields of both.

    A type ignores the fields of the other one, whatever they are.
    """
    return {
        "oneOf": [
            {
                "type": "object",
                "title": title,
                "required": ["task_type", *own_required, *required],
                "properties": {**_IGNORED_FIELDS, **own, **_SHARED_FIELDS, **more},
            }
            for title, own, own_required in (
                ("periodic", _PERIODIC_FIELDS, ()),
                ("one_time", _ONE_TIME_FIELDS, ("run_datetime",)),
            )
        ]
    }


TASK_IN = task_in()
# Any of the fields, with null for those that a task may do without.
CHANGE_IN: dict[str, Any] = {
    "type": "object",
    "properties": {
        name: rule | {"nullable": True}
        if name not in {"task_type", "frequency"} and "type" in rule
        else rule
        for name, rule in {
            **_IGNORED_FIELDS,
            **_ONE_TIME_FIELDS,
            **_PERIODIC_FIELDS,
            **_SHARED_FIELDS,
            "task_type": openapi.text(
                "To make it a task of the other type, with the fields of that type.",
                enum=["periodic", "one_time", "interval"],
            ),
        }.items()
    },
}
TASKS_OUT = {
    "type": "object",
    "required": ["tasks"],
    "properties": {
        "count": {
            "type": "integer",
            "description": "How many tasks there are in all. Absent with filters.",
        },
        "tasks": {
            "type": "array",
            "description": "The tasks, the oldest first.",
            "items": TASK_OUT,
        },
        "next_cursor": {
            "type": "string",
            "nullable": True,
            "description": "Send it as `cursor` to get the next page; null on the last page. Absent "
            "without `cursor` and filters.",
        },
    },
}
BULK_IN = {
    "type": "object",
    "required": ["tasks"],
    "properties": {
        "tasks": {
            "type": "array",
            "minItems": 1,
            "maxItems": 10_000,
            "description": "The tasks, each as it would be posted alone.",
            "items": TASK_IN,
        }
    },
    "description": "An object with the list. The list alone is accepted as well.",
}
BULK_CREATED = {
    "type": "object",
    "required": ["ids", "message"],
    "properties": {
        "ids": {
            "type": "array",
            "description": "The ids of the new tasks, in the order of the request.",
            "items": openapi.TEXT,
        },
        "message": openapi.DONE_MESSAGE,
    },
}
RUN_MADE = {
    "type": "object",
    "required": ["run_id", "message"],
    "properties": {
        "run_id": openapi.text("The id of the new run."),
        "message": openapi.DONE_MESSAGE,
    },
}
CREATED = {
    "type": "object",
    "required": ["id", "message"],
    "properties": {
        "id": openapi.text("The id of the new task."),
        "message": openapi.DONE_MESSAGE,
    },
}
MESSAGE = {
    "type": "object",
    "required": ["message"],
    "properties": {"message": openapi.DONE_MESSAGE},
}
_BAD_TASK = {
    "type": "object",
    "required": ["index", "field", "message"],
    "properties": {
        "index": {
            "type": "integer",
            "description": "The place of the task in the list, counted from 0.",
        },
        "field": openapi.text("The field that cannot be used."),
        "message": openapi.text("What is wrong with it."),
    },
}
BULK_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message"],
            "description": "Why the request was refused.",
            "properties": {
                "message": openapi.text("A sentence that names the first bad task."),
                "tasks": {
                    "type": "array",
                    "description": "Every task that cannot be stored.",
                    "items": _BAD_TASK,
                },
            },
        }
    },
}
