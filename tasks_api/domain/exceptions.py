"""The refusals of the core; each wire format renders them in its own words."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime


class SchedulerError(Exception):
    """Base of all refusals. `code` is part of the public API; the text is not."""

    code = "error"


class InvalidTask(SchedulerError):
    """A field of a request cannot be used; `field` names it."""

    code = "invalid_task"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class DoesNotFit(InvalidTask):
    """Tasks would make runs of their lane late; `smallest_spread` is a window that fits.

    `indexes` are the places of the tasks among those of the request.
    """

    code = "does_not_fit"

    def __init__(
        self,
        field: str,
        message: str,
        *,
        lane: str,
        smallest_spread: int | None,
        indexes: Sequence[int],
    ) -> None:
        super().__init__(field, message)
        self.lane, self.smallest_spread = lane, smallest_spread
        self.indexes = indexes


class TaskNotFound(SchedulerError):
    """The task does not exist, or has ended."""

    code = "task_not_found"


class RunNotFound(SchedulerError):
    """The run does not exist, was deleted by retention, or is not the caller's."""

    code = "run_not_found"


class RunAccessDenied(SchedulerError):
    """The run token belongs to another run, or to none."""

    code = "not_your_run"


class InvalidState(SchedulerError):
    """The task or the run does not allow the operation in its present state."""

    code = "not_now"


class TaskAccessDenied(SchedulerError):
    """The task belongs to another user."""

    code = "not_your_task"


class NameTaken(SchedulerError):
    """Living tasks of the tenant have these names already."""

    code = "name_taken"

    def __init__(self, names: Collection[str]) -> None:
        super().__init__("A task with this name exists already")
        self.names = frozenset(names)


class VersionConflict(SchedulerError):
    """The task or the plan has changed since the caller read it."""

    code = "stale_task"


class PlanChanged(SchedulerError):
    """The tasks of a filter are others now than in the plan that the caller has seen."""

    code = "plan_changed"


class TaskBusy(SchedulerError):
    """A request of the task is under way, so the caller must try again later."""

    code = "task_busy"


class KeyReused(SchedulerError):
    """A client sent an idempotency key again with a different request."""

    code = "key_reused"


class KeyInUse(SchedulerError):
    """The first request with the idempotency key is still under way."""

    code = "key_in_use"


class ScheduleError(SchedulerError):
    """A schedule yields no fire times. The service pauses its task, and no other."""

    code = "schedule_error"


def reason_of(error: Exception) -> str:
    """Return the pause reason for a task whose schedule raised this error."""
    if isinstance(error, ScheduleError):
        return str(error)
    return f"Its schedule cannot be computed ({type(error).__name__}: {error})."


class MessageExists(SchedulerError):
    """The queue has a message of that name already."""

    code = "message_exists"


class MessageNotFound(SchedulerError):
    """The message does not exist, or the operation needs it leased and it is not."""

    code = "message_not_found"


class ChannelNotFound(SchedulerError):
    """The tenant has no such channel."""

    code = "channel_not_found"


class ChannelExists(SchedulerError):
    """The tenant has a channel of that name already."""

    code = "channel_exists"


class RuleNotFound(SchedulerError):
    """The tenant has no such rule."""

    code = "rule_not_found"


class LimitReached(SchedulerError):
    """The caller may not do this: a quota or a bound of its token stands against it.

    `limit_name` names it. `until` is the moment from which it may be worth another try;
    None: it takes a change.
    """

    code = "limit_reached"

    def __init__(
        self, limit_name: str, message: str, *, until: datetime | None = None
    ) -> None:
        super().__init__(message)
        self.limit_name = limit_name
        self.until = until


class QuotaExceeded(LimitReached):
    """A quota of the tenant or of the token is used up, or the request exceeds it."""

    code = "quota_exceeded"


class OutOfBounds(LimitReached):
    """The token, or the token that made the task, may not do this."""

    code = "out_of_bounds"

    def __init__(self, limit_name: str, why: str) -> None:
        super().__init__(
            limit_name, f"The bounds of the token forbid it ({limit_name}): {why}"
        )


class TenantFrozen(SchedulerError):
    """The tenant moves to another database, or has moved; the caller may try again soon.

    Then it reaches the tenant where that lives.
    """

    code = "tenant_moves"
    retry_after = 5.0

    def __init__(self) -> None:
        super().__init__("The tenant moves to another place; try again soon")


class CalendarNotFound(SchedulerError):
    """The tenant has no such calendar."""

    code = "calendar_not_found"


class CalendarExists(SchedulerError):
    """The tenant has a calendar of that name already."""

    code = "calendar_exists"


class LaneNotFound(SchedulerError):
    """The tenant has no lane with this name."""

    code = "lane_not_found"


class LaneExists(SchedulerError):
    """A lane of the tenant has this name, or this host, already."""

    code = "lane_exists"
