"""The results of requests without an answer: the error, and whether they were sent."""

from __future__ import annotations

from tasks_api.delivery.request import HttpResult
from tasks_api.delivery.resolver import Unresolved
from tasks_api.delivery.transfers import HOST_NOT_FOUND
from tasks_api.domain.states import Trouble

TURN_TOO_LATE = "not sent: its turn came too late"
SERVICE_STOPPING = "not sent: the service is stopping"
WORKER_STARVED = "not sent: the worker lacked memory or a free socket"
INVALID_REQUEST = "request cannot be sent as it is"
REQUEST_ABORTED = "aborted: the service is stopping"

STOPPING_RESULT = HttpResult(None, SERVICE_STOPPING, 0, was_sent=False)
STARVED_RESULT = HttpResult(
    None, WORKER_STARVED, 0, was_sent=False, trouble=Trouble.LOCAL
)
CROWDED_RESULT = HttpResult(
    None,
    "its host is slow, and other hosts of its tenant wait",
    0,
    was_sent=False,
    trouble=Trouble.CROWDED,
)


def make_cancelled(reason: str | None) -> HttpResult:
    """The result of a request that a user cancelled before it was sent."""
    return HttpResult(None, reason or "", 0, was_sent=False, trouble=Trouble.CANCELLED)


# For requests without an address. Nothing of them was sent.
UNRESOLVED_RESULTS = {
    Unresolved.MISSING: HttpResult(None, HOST_NOT_FOUND, 0),
    Unresolved.BROKEN: HttpResult(None, HOST_NOT_FOUND, 0),
    Unresolved.SILENT: HttpResult(
        None,
        f"{HOST_NOT_FOUND}: its name servers do not answer",
        0,
        was_sent=False,
        trouble=Trouble.SILENT_NAMES,
    ),
    Unresolved.CROWDED: HttpResult(
        None,
        "too many other names of its tenant wait to be looked up",
        0,
        was_sent=False,
        trouble=Trouble.CROWDED,
    ),
}
