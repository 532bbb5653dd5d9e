"""Responses and parameters that several operations of the tasks API share."""

from __future__ import annotations

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

from tasks_api.api import openapi
from tasks_api.api.tasks.openapi_fields import BULK_ERROR, MESSAGE

UNAUTHORIZED = "User not authorized"
FORBIDDEN = "Forbidden: Task does not belong to this user"
NOT_FOUND = "Task not found"
FAILURE = "APIError: Internal Server error occurred!"
NO_IDS = "Bad request, No data in ids"
NO_TASK = "APIError: task does not exist with given id"
NAME_TAKEN = "A task with this name exists already"
STALE = "The task has changed since; it has another ETag now"


def done(message: str) -> OpenApiResponse:
    return openapi.response(MESSAGE, {"message": message}, message)


TASK_ID = openapi.path_parameter(
    "task_id", "The id in the response that created the task."
)
TASK_NAME = openapi.path_parameter(
    "name", "The name of the task, percent-encoded; it may contain slashes."
)
OWNER = OpenApiParameter(
    "owner",
    OpenApiTypes.STR,
    description="For administrators: the name of a user of the tenant, or `all`.",
)
OTHERS_FORBIDDEN = "The tasks of others take an administrator's token of scope admin"


def bulk_error(message: str) -> OpenApiResponse:
    bad = {"index": 3, "field": "url", "message": message}
    return openapi.response(
        BULK_ERROR,
        {
            "error": {
                "message": "1 of the tasks cannot be stored. The first is tasks[3]: "
                + message,
                "tasks": [bad],
            }
        },
        message,
    )


IF_MATCH = OpenApiParameter(
    "If-Match",
    location=OpenApiParameter.HEADER,
    description="The `ETag` of the task as you have read it. If the task has changed "
    "since, the response is 412 and nothing happens.",
)


def etag(*statuses: int) -> OpenApiParameter:
    return OpenApiParameter(
        "ETag",
        location=OpenApiParameter.HEADER,
        description="The version of the task. It changes if a user changes the task, "
        "and not if the task fires.",
        response=list(statuses),
    )
