"""What every wire format must produce before the core makes a task of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit
from uuid import UUID

from tasks_api.schedules import Schedule


class Surface(StrEnum):
    """The wire format through which a task came."""

    TASKS = "tasks"
    CRON_JOBS = "cron_jobs"
    TIMERS = "timers"
    REST_JOBS = "rest_jobs"


class Overlap(StrEnum):
    """What a fire time does while an earlier run of its task is unfinished."""

    ALLOW = "allow"
    SKIP = "skip"


class Misfire(StrEnum):
    """What becomes of the newest fire time that passed while nobody could fire it."""

    LATEST = "latest"
    SKIP = "skip"


def summary(*, name: str, method: str, url: str, queue: str) -> str:
    """A task in a few words, without what may be a secret of its URL."""
    if queue:
        target = f"queue {queue}"
    elif url:
        target = f"{method} {urlsplit(url).netloc.rpartition('@')[2]}"
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
class TaskSpec:
    """A task as its owner wants it: the request, when it is sent, and by which rules.

    `body` is the JSON text that the target receives, byte for byte.
    """

    surface: Surface
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
    # The first and the last status that count as success, such as 200-299.
    expected_status: str = ""
    overlap: Overlap = Overlap.ALLOW
    misfire: Misfire = Misfire.LATEST
    retry: RetryPolicy | None = None
    # When to fire in the client's own words, where its wire format shows them again.
    schedule_text: str = ""
    # Given where the body has to name it.
    task_id: UUID | None = None
