"""What every wire format must produce before the core makes a task of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from tasks_api.domain.guard import host_of
from tasks_api.domain.schedules import Schedule


class Surface(StrEnum):
    """The wire format through which a task came."""

    TASKS = "tasks"
    CRON_JOBS = "cron_jobs"
    TIMERS = "timers"
    REST_JOBS = "rest_jobs"
    # Of nobody: what the service itself tells a tenant.
    NOTICES = "notices"


class Overlap(StrEnum):
    """What a fire time does while an earlier run of its task is unfinished."""

    ALLOW = "allow"
    SKIP = "skip"
    QUEUE_ONE = "queue_one"


class Misfire(StrEnum):
    """What becomes of the fire times that passed while nobody could fire them."""

    LATEST = "latest"
    SKIP = "skip"
    ALL = "all"


class BodyForm(StrEnum):
    """How the body of a request was given, where it was not as `post_data`."""

    JSON = "json"
    TEXT = "text"
    FORM = "form"


def summary(*, name: str, method: str, url: str, queue: str) -> str:
    """A task in a few words, without what may be a secret of its URL."""
    if queue:
        target = f"queue {queue}"
    elif url:
        target = f"{method} {host_of(url)}"
    else:
        target = f"{method} to the tenant's endpoint"
    return f"{name}: {target}" if name else target


@dataclass(frozen=True)
class RetryPolicy:
    """Which failures are tried again, and when, until the task is removed or replaced.

    A missing answer is always one of them. The delay, in seconds, doubles from
    `min_delay` to `max_delay`. A 409 says that the target is still at work on an
    earlier request; it is asked again after `conflict_delay`, or not at all.
    """

    statuses: tuple[int, ...]
    min_delay: float
    max_delay: float
    conflict_delay: float | None = None


@dataclass(frozen=True)
class Backoff:
    """A limited number of attempts, further and further apart, as the target wishes.

    The n-th retry comes after `min_delay` to `min_delay` * 4^n seconds, drawn at random,
    and never more than `max_delay`; a Retry-After header may ask for more, up to
    `max_delay`. None comes later than `max_age` seconds after the planned instant.
    `statuses` are codes and ranges; a missing answer is always tried again.
    """

    max_attempts: int = 6
    min_delay: float = 10
    max_delay: float = 3600
    max_age: float = 24 * 3600
    statuses: str = "408,425,429,500-599"


@dataclass(frozen=True)
class RequestOptions:
    """What a request has beyond method, target and body; the default is nothing.

    The values of the headers are sealed, all of them in one text, in the order of their
    names. Without a form the body is `post_data`.
    """

    header_names: tuple[str, ...] = ()
    sealed_values: str = ""
    timeout_seconds: int | None = None
    form: BodyForm | None = None
    content_type: str = ""
    # Seconds that the target may work on after an answer of 202, without a word.
    deadline: int | None = None


@dataclass(frozen=True)
class TaskSpec:
    """A task as its owner wants it: the request, when it is sent, and by which rules.

    `body` is the JSON text that the target receives, byte for byte.
    """

    surface: Surface
    # Its credentials, if it has any, are sealed.
    url: str
    schedule: Schedule
    body: str
    method: str = "POST"
    # The client's own id, unique per tenant and surface among tasks that are alive.
    name: str = ""
    # To find it by.
    tags: tuple[str, ...] = ()
    # The pull queue that gets the body as a message, instead of a URL.
    queue: str = ""
    # The statuses that are success, such as 200-299,304; empty is any below 400.
    expected_status: str = ""
    overlap: Overlap = Overlap.ALLOW
    misfire: Misfire = Misfire.LATEST
    # How late a fire time may still be made up for, in seconds; None is however late.
    catchup_window: int | None = None
    # The seconds over which the fire times of tasks are spread.
    spread: int = 0
    retry: RetryPolicy | Backoff | None = None
    request: RequestOptions = RequestOptions()
    # So many failed runs in a row pause the task; None is however many.
    pause_after_failures: int | None = None
    # None is as it is, and of a new task that it fires.
    is_paused: bool | None = None
    # When to fire in the client's own words, where its wire format shows them again.
    schedule_text: str = ""
    # Given where the body has to name it.
    task_id: UUID | None = None
