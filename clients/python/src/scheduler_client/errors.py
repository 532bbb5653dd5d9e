"""What can go wrong: the service refuses, fails or cannot be reached."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_FIELD = re.compile(
    r"(?:Missing key|Missing parameter): (?P<missing>[\w.-]+)"
    r"|Invalid value of (?P<invalid>[\w.-]+?)\.(?: |$)"
    r"|(?P<named>[a-z]\w*) should "
)


class SchedulerError(Exception):
    """Base of all errors of this package."""


class Unreachable(SchedulerError):
    """No answer came: no connection, or a timeout. What was asked may have been done."""


class BadSignature(SchedulerError):
    """A request was not signed by the scheduler, or is too old."""


class ApiError(SchedulerError):
    """An answer that is a refusal or a failure.

    `status` is that of HTTP, `message` the service's sentence, and `field` the field that
    it names, if it names one. `tasks` has the errors of a list: the index of each task,
    its field and a message.
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
        found = _FIELD.match(self.message)
        return next(filter(None, found.groups()), None) if found else None


class BadRequest(ApiError):
    """400 or 422: something in the request cannot be used."""


class Unauthorized(ApiError):
    """401: no token, or one that is unknown, expired or revoked."""


class Forbidden(ApiError):
    """403: it belongs to somebody else, or takes a greater scope or role."""


class NotFound(ApiError):
    """404: there is no such thing, or not any more."""


class Conflict(ApiError):
    """409: a name is taken, or a run is under way."""


class Stale(ApiError):
    """412: it was changed since you looked at it."""


class ServiceFailure(ApiError):
    """429 and 5xx: the service could not, and trying again has not helped."""


_KINDS: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: Stale,
    422: BadRequest,
    429: ServiceFailure,
}


def error_of(status: int, body: object, text: str) -> ApiError:
    """The error that an answer means. `body` is its JSON, or None."""
    told = body.get("error") if isinstance(body, Mapping) else None
    told = told if isinstance(told, Mapping) else {}
    message = str(told.get("message") or text.strip()[:500] or f"HTTP {status}")
    kind = _KINDS.get(status, ServiceFailure if status >= 500 else ApiError)
    return kind(status, message, told.get("tasks") or ())
