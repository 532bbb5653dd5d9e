"""The base of the views of the tasks API: its error messages."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.http import HttpResponse
from rest_framework.exceptions import PermissionDenied
from rest_framework.response import Response

from tasks_api.api.errors import ErrorResponse, FormatView
from tasks_api.domain.exceptions import (
    DoesNotFit,
    InvalidTask,
    LimitReached,
    RunNotFound,
)


class InvalidTasks(InvalidTask):
    """Some of many tasks cannot be stored; lists the index, field and message of each."""

    def __init__(self, errors: list[dict[str, Any]], *, status: int = 400) -> None:
        first = errors[0]
        super().__init__(
            f"tasks[{first['index']}].{first['field']}",
            f"{len(errors)} of the tasks cannot be stored. The first is "
            f"tasks[{first['index']}]: {first['message']}",
        )
        self.errors = errors
        self.status = status


class UnchangeableTasks(InvalidTasks):
    """Some tasks of a filter cannot be changed as the request says, so none is.

    Lists the id, name, field and message of each, up to a limit.
    """

    def __init__(self, errors: list[dict[str, Any]], count: int) -> None:
        first = errors[0]
        InvalidTask.__init__(
            self,
            first["field"],
            f"{count} of the tasks cannot be changed so, and none was. The first is "
            f"{first['name'] or first['id']}: {first['message']}",
        )
        self.errors = errors
        self.status = 400


def error_at(index: int, error: InvalidTask) -> dict[str, Any]:
    """The entry of one task in InvalidTasks."""
    return {"index": index, "field": error.field, "message": str(error)}


class TasksView(FormatView):
    """A view whose document fixes the error messages of some statuses."""

    error_messages: ClassVar[dict[int, str]] = {
        401: "User not authorized",
        403: "Forbidden: Task does not belong to this user",
        404: "Task not found",
        405: "Given HTTP method is not allowed on this endpoint",
        500: "APIError: Internal Server error occurred!",
    }
    # Messages of one method only.
    error_messages_by_method: ClassVar[dict[tuple[str | None, int], str]] = {}

    def render_error(self, error: ErrorResponse) -> HttpResponse:
        status, message, cause = error
        if isinstance(cause, PermissionDenied | LimitReached):
            # It says which scope, role, quota or bound stands against it.
            return super().render_error(error)
        common = self.error_messages.get(status, message)
        message = self.error_messages_by_method.get(
            (self.request.method, status), common
        )
        if isinstance(error.cause, DoesNotFit):
            return Response(_describe_misfit(message, error.cause), status=status)
        if isinstance(error.cause, InvalidTasks):
            tasks = error.cause.errors
            body = {"error": {"message": message, "tasks": tasks}}
            return Response(body, status=error.cause.status)
        return super().render_error(error._replace(message=message))


def _describe_misfit(message: str, error: DoesNotFit) -> dict[str, Any]:
    """Say in fields what the message says, for programs."""
    return {
        "error": {
            "message": message,
            "field": error.field,
            "lane": error.lane,
            "smallest_spread": error.smallest_spread,
        }
    }


def parse_run_id(path: str) -> UUID:
    """The run id of a path. Raises RunNotFound if it cannot be one."""
    try:
        return UUID(path)
    except ValueError:
        raise RunNotFound("Run not found") from None
