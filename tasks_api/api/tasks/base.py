"""What the views of the tasks surface share: its words for what went wrong."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.http import HttpResponse
from rest_framework.exceptions import PermissionDenied
from rest_framework.response import Response

from tasks_api.api.errors import ErrorResponse, FormatView
from tasks_api.domain.exceptions import InvalidTask, RunNotFound


class InvalidTasks(InvalidTask):
    """Some of many tasks cannot be stored: the index of each, its field, a sentence."""

    def __init__(self, errors: list[dict[str, Any]], *, status: int = 400) -> None:
        first = errors[0]
        super().__init__(
            f"tasks[{first['index']}].{first['field']}",
            f"{len(errors)} of the tasks cannot be stored. The first is "
            f"tasks[{first['index']}]: {first['message']}",
        )
        self.errors = errors
        self.status = status


def error_at(index: int, error: InvalidTask) -> dict[str, Any]:
    """What InvalidTasks says of one of the tasks."""
    return {"index": index, "field": error.field, "message": str(error)}


class TasksView(FormatView):
    """The surface's words for what went wrong, where its document gives them."""

    error_messages: ClassVar[dict[int, str]] = {
        401: "User not authorized",
        403: "Forbidden: Task does not belong to this user",
        404: "Task not found",
        405: "Given HTTP method is not allowed on this endpoint",
        500: "APIError: Internal Server error occurred!",
    }
    # Where a method has its own.
    error_messages_by_method: ClassVar[dict[tuple[str | None, int], str]] = {}

    def render_error(self, error: ErrorResponse) -> HttpResponse:
        status, message, cause = error
        if isinstance(cause, PermissionDenied):
            # It says which scope or role is missing.
            return super().render_error(error)
        common = self.error_messages.get(status, message)
        message = self.error_messages_by_method.get(
            (self.request.method, status), common
        )
        if isinstance(error.cause, InvalidTasks):
            tasks = error.cause.errors
            body = {"error": {"message": message, "tasks": tasks}}
            return Response(body, status=error.cause.status)
        return super().render_error(error._replace(message=message))


def parse_run_id(path: str) -> UUID:
    """The id in a path; whatever cannot be one is the id of no run."""
    try:
        return UUID(path)
    except ValueError:
        raise RunNotFound("Run not found") from None
