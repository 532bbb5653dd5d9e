"""What the core refuses; each wire format puts it into its own words."""

from __future__ import annotations

from collections.abc import Collection


class SchedulerError(Exception):
    """Base of all refusals. `code` is part of the public API; the text is not."""

    code = "error"


class InvalidTask(SchedulerError):
    """A field of a request cannot be used; `field` names it."""

    code = "invalid_task"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class TaskNotFound(SchedulerError):
    """No such task, or it has ended."""

    code = "task_not_found"


class RunNotFound(SchedulerError):
    """No such run, or it is older than what is kept, or not the caller's."""

    code = "run_not_found"


class RunAccessDenied(SchedulerError):
    """The token is that of another run, or of none."""

    code = "not_your_run"


class InvalidState(SchedulerError):
    """The operation is possible, but not in the present state."""

    code = "not_now"


class TaskAccessDenied(SchedulerError):
    """The task belongs to another user."""

    code = "not_your_task"


class NameTaken(SchedulerError):
    """The tenant has tasks of these names already."""

    code = "name_taken"

    def __init__(self, names: Collection[str]) -> None:
        super().__init__("A task with this name exists already")
        self.names = frozenset(names)


class VersionConflict(SchedulerError):
    """The task or the plan has changed since the caller read it."""

    code = "stale_task"


class TaskBusy(SchedulerError):
    """A request of the task is under way, and what was asked for has to wait."""

    code = "task_busy"


class KeyReused(SchedulerError):
    """An idempotency key came with another request than before."""

    code = "key_reused"


class KeyInUse(SchedulerError):
    """The request that came first with an idempotency key is still under way."""

    code = "key_in_use"


class ScheduleError(SchedulerError):
    """A stored schedule yields no fire times; its own task is paused, nobody else's."""

    code = "schedule_error"


def reason_of(error: Exception) -> str:
    """Why a task pauses whose schedule is in trouble."""
    if isinstance(error, ScheduleError):
        return str(error)
    return f"Its schedule cannot be computed ({type(error).__name__}: {error})."


class MessageExists(SchedulerError):
    """Its queue has a message of that name already."""

    code = "message_exists"


class MessageNotFound(SchedulerError):
    """No such message, or it is not in flight where it should be."""

    code = "message_not_found"
