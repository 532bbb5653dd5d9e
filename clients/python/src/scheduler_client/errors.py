"""The exceptions of this package: refusals, failures and network errors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_NAMED_FIELD = re.compile(
    r"(?:Missing key|Missing parameter): (?P<missing>[\w.-]+)"
    r"|Invalid value of (?P<invalid>[\w.-]+?)\.(?: |$)"
    r"|(?P<named>[a-z]\w*) should "
)


class SchedulerError(Exception):
    """Base of all errors of this package."""


class Unreachable(SchedulerError):
    """No response came: no connection, or a timeout. The service may have done the request."""


class BadSignature(SchedulerError):
    """A request does not carry a valid, recent signature of the scheduler."""


class ApiError(SchedulerError):
    """The service responded with an error.

    `status` is the HTTP status, `message` the service's error message, and `field` the
    field that the message names, or None. `tasks` has the errors of a list of tasks: for
    each one the index of the task, the field and a message.
    """

    def __init__(
        self, status: int, message: str, tasks: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.tasks = list(tasks)

    @property
    def field(self) -> str | None:
        if self.tasks:
            return str(self.tasks[0]["field"])
        found = _NAMED_FIELD.match(self.message)
        return next(filter(None, found.groups()), None) if found else None


class BadRequest(ApiError):
    """400 or 422: the request is invalid."""


class Unauthorized(ApiError):
    """401: the token is missing, unknown, expired or revoked."""


class Forbidden(ApiError):
    """403: the object belongs to another user, or the scope or role does not suffice."""


class NotFound(ApiError):
    """404: the object does not exist, or no longer."""


class Conflict(ApiError):
    """409: a name is taken, or a run is in another state."""


class PreconditionFailed(ApiError):
    """412: the task or the plan has changed since the caller read it."""


class ServiceFailure(ApiError):
    """429 or 5xx: the service failed, and retries did not help."""


_ERRORS_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: PreconditionFailed,
    422: BadRequest,
    429: ServiceFailure,
}


def error_from_response(status: int, body: object, text: str) -> ApiError:
    """Build the exception of an error response. `body` is its JSON value, or None."""
    error = body.get("error") if isinstance(body, Mapping) else None
    details = error if isinstance(error, Mapping) else {}
    message = str(details.get("message") or text.strip()[:500] or f"HTTP {status}")
    default = ServiceFailure if status >= 500 else ApiError
    error_class = _ERRORS_BY_STATUS.get(status, default)
    return error_class(status, message, details.get("tasks") or ())
