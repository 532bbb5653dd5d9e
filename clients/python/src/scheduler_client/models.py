"""What the service answers, typed: moments are aware datetimes in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, TypeVar

Model = TypeVar("Model")

# Names in JSON that are none in Python, or say too little there.
_ALIASES = {"from": "since", "to": "until", "pass": "which_pass"}
_MOMENTS = {
    "at",
    "created_at",
    "end_datetime",
    "expires_at",
    "finished_at",
    "last_used_at",
    "next_run_datetime",
    "revoked_at",
    "run_datetime",
    "scheduled_for",
    "since",
    "start_datetime",
    "started_at",
    "until",
}


def read(kind: type[Model], data: Mapping[str, Any], **more: Any) -> Model:
    """An answer as its dataclass; what this version of the client does not know is left."""
    known = {each.name for each in fields(kind)}  # type: ignore[arg-type]  # a dataclass
    named = {_ALIASES.get(name, name): value for name, value in data.items()}
    values = {
        name: moment(value) if name in _MOMENTS else value
        for name, value in named.items()
        if name in known
    }
    if "raw" in known:
        values["raw"] = dict(data)
    return kind(**{**values, **more})


def moment(value: object) -> datetime | None:
    """A datetime of an answer; without an offset it is UTC."""
    if not isinstance(value, str):
        return None
    at = datetime.fromisoformat(value)
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Created:
    """A task that was stored. `replayed` says that it was so by an earlier request."""

    id: str
    etag: str
    replayed: bool = False


@dataclass(frozen=True)
class Task:
    """The HTTP call that is to be made, and when. `raw` is the answer as it came.

    `frequency`, `timeout_seconds`, `catchup_window` and `spread` are in seconds. Fields
    that are not set are None. `etag` is empty in lists.
    """

    id: str
    task_type: str
    url: str | None = None
    queue: str | None = None
    post_data: Mapping[str, Any] | None = None
    name: str | None = None
    tags: tuple[str, ...] = ()
    frequency: int | None = None
    cron: str | None = None
    timezone: str | None = None
    start_datetime: datetime | None = None
    end_datetime: datetime | None = None
    run_datetime: datetime | None = None
    next_run_datetime: datetime | None = None
    retry: Mapping[str, Any] | None = None
    expected_status: str | None = None
    overlap: str | None = None
    misfire: str | None = None
    catchup_window: int | None = None
    spread: int | None = None
    dst: Mapping[str, str] | None = None
    method: str | None = None
    headers: Mapping[str, str] | None = None
    timeout_seconds: int | None = None
    body: Any = None
    content_type: str | None = None
    long_work: Mapping[str, int] | None = None
    pause_after_failures: int | None = None
    paused: bool = False
    pause_reason: str | None = None
    etag: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class FireTime:
    """One coming fire time. `at` is None where a change of the clock drops it.

    `local`, `wall` and `grid` are texts as the service writes them; see its docs.
    """

    at: datetime | None
    local: str
    dst: str | None = None
    wall: str | None = None
    which_pass: int | None = None
    grid: str | None = None


@dataclass(frozen=True)
class FireTimes:
    """Coming fire times, in order, and the zone whose clock `local` is."""

    timezone: str
    paused: bool
    fire_times: list[FireTime]
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Attempt:
    """One request of a run. `answer` is the beginning of what was answered."""

    number: int
    started_at: datetime | None
    duration_ms: int | None = None
    status_code: int | None = None
    error: str = ""
    answer: str | None = None


@dataclass(frozen=True)
class Run:
    """One fire time and what became of it. Only `Client.run_detail` has `attempts`."""

    id: str
    task_id: str
    scheduled_for: datetime
    state: str
    task_name: str = ""
    notice: bool = False
    reason: str = ""
    manual: bool = False
    redrive_of: str | None = None
    slot: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    attempt_count: int = 0
    last_status: int | None = None
    attempts: tuple[Attempt, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Difference:
    """A fire time without a run, or a run without a fire time."""

    kind: str
    scheduled_for: datetime
    run_id: str | None
    message: str


@dataclass(frozen=True)
class ScheduleChange:
    """A moment at which a schedule was paused, resumed, edited or replaced."""

    at: datetime
    what: str


@dataclass(frozen=True)
class Account:
    """What was planned from `since` to `until`, and what became of it."""

    since: datetime
    until: datetime
    planned: int
    delivered: int
    failed: int
    skipped: int
    missed: int
    cancelled: int
    under_way: int
    manual: int
    balance: int
    missing: int
    unplanned: int
    differences: list[Difference]
    changes: list[ScheduleChange]
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Redriven:
    """The runs that were made to send others again; `more` says that some are left."""

    run_ids: list[str]
    more: bool = False

    @property
    def count(self) -> int:
        return len(self.run_ids)


@dataclass(frozen=True)
class Token:
    """A token as lists show it: whose, how much it may do, until when."""

    id: str
    user: str
    name: str
    prefix: str
    scope: str
    created_at: datetime | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class IssuedToken(Token):
    """A new token; `token` is its clear text, which nobody is shown again."""

    token: str = field(default="", repr=False)


@dataclass(frozen=True)
class User:
    """A user of the tenant. `username` is what the audit log calls them."""

    name: str
    username: str
    role: str
    is_active: bool
    created_at: datetime | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class SigningSecret:
    """A live signing secret, without the secret itself: `id` is its fingerprint.

    `expires_at` is None for the one that stays, and `is_readable` False where the service
    has lost the key that opens it.
    """

    id: str
    created_at: datetime | None = None
    expires_at: datetime | None = None
    is_readable: bool = True
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class NewSecret:
    """A new signing secret; `secret` is what nobody is shown again."""

    id: str
    secret: str = field(repr=False)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Entry:
    """One entry of the audit log."""

    id: str
    at: datetime
    actor: str
    via: str
    token: str
    action: str
    objects: list[str]
    changes: Mapping[str, Any]
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Step:
    """What is done to one task: create, change, pause, resume, delete, keep, over."""

    name: str
    id: str | None
    action: str
    changes: Mapping[str, Mapping[str, Any]]
    fire_times_before: list[str]
    fire_times_after: list[str]


@dataclass(frozen=True)
class Plan:
    """What a list of tasks changes. `plan` is its fingerprint."""

    plan: str
    tag: str
    dry_run: bool
    counts: Mapping[str, int]
    steps: list[Step]
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def has_changes(self) -> bool:
        return any(step.action not in ("keep", "over") for step in self.steps)
