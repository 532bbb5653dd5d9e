"""The operations on queues as a whole in the OpenAPI document."""

from __future__ import annotations

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter

from tasks_api.api import openapi
from tasks_api.api.products import Product
from tasks_api.domain.message_states import MessageState
from tasks_api.services.queues import (
    MAX_CHANGED,
    MAX_COUNTED_IN_LIST,
    MAX_PAYLOAD_SHOWN,
)

_ALWAYS = {
    401: openapi.error_response("User not authorized"),
    500: openapi.error_response("APIError: Internal Server error occurred!"),
}
_NEEDS_ADMIN = {
    403: openapi.error_response("This is for the administrators of your tenant")
}


def _moment(description: str, *, nullable: bool = False) -> dict[str, object]:
    return openapi.text(description, format="date-time", nullable=nullable)


_COUNTS = {
    "ready": openapi.count("Jobs that the next consumer may get."),
    "later": openapi.count("Jobs whose `run_at` is still to come."),
    "in_flight": openapi.count("Jobs that consumers have leased."),
    "returning": openapi.count("Jobs whose lease ran out, with a retry left."),
    "exhausted": openapi.count(
        "Jobs whose last lease ran out. The next fetch deletes them."
    ),
}
_QUEUE_OUT = {
    "type": "object",
    "required": ["queue", *_COUNTS, "oldest", "lost"],
    "properties": {
        "queue": openapi.text("The name of the queue."),
        **_COUNTS,
        "oldest": _moment("The `run_at` of the first ready job.", nullable=True),
        "lost": openapi.count("Jobs that were deleted without a retry left."),
    },
}
_NEXT_CURSOR = openapi.text("The `cursor` of the next page.", nullable=True)
_QUEUES_OUT = {
    "type": "object",
    "required": ["queues", "next_cursor"],
    "properties": {
        "queues": {
            "type": "array",
            "description": "The queues, by name.",
            "items": _QUEUE_OUT,
        },
        "next_cursor": _NEXT_CURSOR,
    },
}
_QUEUE = {
    "queue": "mail",
    "ready": 4,
    "later": 1,
    "in_flight": 2,
    "returning": 0,
    "exhausted": 0,
    "oldest": "2026-11-21T07:00:00Z",
    "lost": 0,
}
_MESSAGE_FIELDS = {
    "id": openapi.text("The id of the job in its queue."),
    "run_at": _moment("When consumers may get it first."),
    "leased_until": _moment("When its lease ends or ended.", nullable=True),
    "timeout": openapi.count("The seconds of a lease."),
    "max_retries": {
        "type": "integer",
        "description": "How often it comes back; a negative number means no limit.",
    },
    "retry_count": openapi.count("How often it came back."),
    "payload": {
        "description": f"The payload; null if it has more than {MAX_PAYLOAD_SHOWN} "
        "characters."
    },
    "payload_length": openapi.count("The characters of the payload."),
}
_MESSAGES_OUT = {
    "type": "object",
    "required": ["messages", "next_cursor"],
    "properties": {
        "messages": {
            "type": "array",
            "description": "The jobs, the first one in line first.",
            "items": {
                "type": "object",
                "required": [*_MESSAGE_FIELDS],
                "properties": _MESSAGE_FIELDS,
            },
        },
        "next_cursor": _NEXT_CURSOR,
    },
}
_MESSAGE = {
    "id": "1",
    "run_at": "2026-11-21T07:00:00Z",
    "leased_until": None,
    "timeout": 30,
    "max_retries": 2,
    "retry_count": 0,
    "payload": {"to": "ann@example.com"},
    "payload_length": 25,
}
_QUEUE_IN = {
    "type": "object",
    "required": ["queue"],
    "properties": {"queue": openapi.NAME | {"description": "The name of the queue."}},
}
_EXAMPLE = [OpenApiExample("one queue", {"queue": "mail"}, request_only=True)]
_CHANGED_OUT = {
    "type": "object",
    "required": ["count", "more"],
    "properties": {
        "count": openapi.count("How many jobs were changed."),
        "more": {
            "type": "boolean",
            "description": "Whether others may be left: repeat the request.",
        },
    },
}
_CHANGED = openapi.response(_CHANGED_OUT, {"count": 30, "more": False}, "Done.")
_PAGING = [
    OpenApiParameter(
        "limit",
        OpenApiTypes.INT,
        description="The maximum number to return, up to 100.",
    ),
    OpenApiParameter(
        "cursor",
        OpenApiTypes.STR,
        description="The `next_cursor` of the previous page.",
    ),
    openapi.NEXT_PAGE,
]

list_queues = openapi.operation(
    product=Product.PULL_QUEUE,
    operation_id="list_queues",
    summary="List the queues",
    description="Returns the queues that have jobs or have lost some, and how many of each "
    f"kind. A number is counted up to {MAX_COUNTED_IN_LIST:,}. Errors are JSON, as those of "
    "tasks.",
    parameters=_PAGING,
    responses={
        200: openapi.response(
            _QUEUES_OUT, {"queues": [_QUEUE], "next_cursor": None}, "The queues."
        ),
        400: openapi.error_response("Invalid value of limit"),
        **_ALWAYS,
    },
)
list_messages = openapi.operation(
    product=Product.PULL_QUEUE,
    operation_id="list_queue_messages",
    summary="Look at jobs without leasing them",
    description="Returns jobs of a queue in a state, the first one in line first. Nobody's "
    "lease changes.",
    parameters=[
        OpenApiParameter(
            "queue", OpenApiTypes.STR, required=True, description="The queue."
        ),
        OpenApiParameter(
            "state",
            OpenApiTypes.STR,
            enum=[state.value for state in MessageState],
            description="The state of the jobs: `ready` if absent.",
        ),
        *_PAGING,
    ],
    responses={
        200: openapi.response(
            _MESSAGES_OUT, {"messages": [_MESSAGE], "next_cursor": None}, "The jobs."
        ),
        400: openapi.error_response("Missing parameter: queue"),
        **_ALWAYS,
    },
)
requeue_exhausted = openapi.operation(
    product=Product.PULL_QUEUE,
    operation_id="requeue_exhausted",
    summary="Let exhausted jobs wait again",
    description="Gives jobs whose last lease ran out all of their retries again, at most "
    f"{MAX_CHANGED:,} in one request. A job that a fetch has deleted is gone.",
    request=openapi.json_body(_QUEUE_IN),
    examples=_EXAMPLE,
    responses={
        200: _CHANGED,
        400: openapi.error_response("Missing key: queue"),
        **_ALWAYS,
    },
)
purge_queue = openapi.operation(
    product=Product.PULL_QUEUE,
    operation_id="purge_queue",
    summary="Delete the jobs of a queue",
    description=f"Deletes jobs, in flight or not, at most {MAX_CHANGED:,} in one request. For "
    "administrators.",
    request=openapi.json_body(_QUEUE_IN),
    examples=_EXAMPLE,
    responses={
        200: _CHANGED,
        400: openapi.error_response("Missing key: queue"),
        **_ALWAYS,
        **_NEEDS_ADMIN,
    },
)
