"""The description of a task that every wire format hands to the core."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from tasks_api.domain.calendars import CalendarChoice
from tasks_api.domain.guard import host_of
from tasks_api.domain.schedules import Schedule


class Surface(StrEnum):
    """The surface through which a client created a task."""

    TASKS = "tasks"
    CRON_JOBS = "cron_jobs"
    TIMERS = "timers"
    REST_JOBS = "rest_jobs"
    # No client creates these: they are the notices of the service to a tenant.
    NOTICES = "notices"


class Overlap(StrEnum):
    """The policy for a fire time that comes while an earlier run is unfinished."""

    ALLOW = "allow"
    SKIP = "skip"
    QUEUE_ONE = "queue_one"


class Misfire(StrEnum):
    """The policy for missed fire times."""

    LATEST = "latest"
    SKIP = "skip"
    ALL = "all"


class Admit(StrEnum):
    """Whether a task may make the line of its lane longer than the rule allows."""

    FITTING = ""
    ANYWAY = "anyway"


class BodyForm(StrEnum):
    """The field in which a client gave the body, if it was not `post_data`."""

    JSON = "json"
    TEXT = "text"
    FORM = "form"


def summary(*, name: str, method: str, url: str, queue: str) -> str:
    """Describe a task in a few words, without the secret parts of its URL."""
    if queue:
        target = f"queue {queue}"
    elif url:
        target = f"{method} {host_of(url)}"
    else:
        target = f"{method} to the tenant's endpoint"
    return f"{name}: {target}" if name else target


@dataclass(frozen=True)
class RetryPolicy:
    """Retries without a limit, until the task is removed or replaced.

    A worker retries after these statuses, and always after a missing answer. The delay,
    in seconds, doubles from `min_delay` to `max_delay`. A 409 says that the target is
    still at work on an earlier request; the retry comes after `conflict_delay`, or,
    without one, not at all.
    """

    statuses: tuple[int, ...]
    min_delay: float
    max_delay: float
    conflict_delay: float | None = None


@dataclass(frozen=True)
class Backoff:
    """Retries with a limit, further and further apart.

    The n-th retry comes after `min_delay` to `min_delay` * 4^n seconds, drawn at
    random, and at most `max_delay`; a Retry-After header may ask for more, up to
    `max_delay`. No retry comes later than `max_age` seconds after the fire time. A
    worker retries after `statuses`, which are codes and ranges, and always after a
    missing answer.
    """

    max_attempts: int = 6
    min_delay: float = 10
    max_delay: float = 3600
    max_age: float = 24 * 3600
    statuses: str = "408,425,429,500-599"


@dataclass(frozen=True)
class RequestOptions:
    """The parts of a request beside method, target and body; by default there are none.

    `sealed_values` holds the values of all headers in one sealed text, in the order of
    `header_names`. If `form` is None, the client gave the body as `post_data`.
    """

    header_names: tuple[str, ...] = ()
    sealed_values: str = ""
    timeout_seconds: int | None = None
    form: BodyForm | None = None
    content_type: str = ""
    # Seconds that long work may take between an answer of 202 and a heartbeat.
    deadline: int | None = None


@dataclass(frozen=True)
class TaskSpec:
    """A task as its owner wants it: its request, its schedule and its policies.

    `body` is the JSON text that the target receives, byte for byte.
    """

    surface: Surface
    # The credentials in the URL are sealed.
    url: str
    schedule: Schedule
    body: str
    method: str = "POST"
    # The client name, unique among the living tasks of a tenant and a surface.
    name: str = ""
    tags: tuple[str, ...] = ()
    # The pull queue that gets the body as a message, instead of a URL.
    queue: str = ""
    # The statuses that count as success, such as 200-299,304; empty: any below 400.
    expected_status: str = ""
    overlap: Overlap = Overlap.ALLOW
    misfire: Misfire = Misfire.LATEST
    # The seconds by which a fire time may be late and still fire; None: no limit.
    catchup_window: int | None = None
    # The seconds over which the fire times of tasks are spread.
    spread: int = 0
    # Whether the service chooses the spread and the offset in it.
    spread_auto: bool = False
    # The seconds by which the task fires after its schedule, if the service chose them.
    spread_offset: int | None = None
    # Whether the task is admitted to a lane in which it does not fit.
    admit: Admit = Admit.FITTING
    retry: RetryPolicy | Backoff | None = None
    request: RequestOptions = RequestOptions()
    # The failure streak that pauses the task; None: no streak does.
    pause_after_failures: int | None = None
    # The runs of its schedule after which a recurring task ends; None: never.
    max_runs: int | None = None
    # Whether it ends after the first run of its schedule that succeeds.
    stop_on_success: bool = False
    # The calendars by their names; the services turn them into a part of the schedule.
    calendars: CalendarChoice | None = None
    # The lane that the client named; empty: none.
    lane_name: str = ""
    # None keeps the present state; a new task fires.
    is_paused: bool | None = None
    # The schedule in the client's words, for wire formats that show them again.
    schedule_text: str = ""
    # Set in advance if the body must contain the id.
    task_id: UUID | None = None
