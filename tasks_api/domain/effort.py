"""Limits on the steps that one computation may take: clients choose the schedules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tasks_api.domain.exceptions import ScheduleError, SchedulerError


class TooLong(ScheduleError):
    """One fire time takes more steps than allowed, because of its schedule."""


class TooMuch(SchedulerError):
    """One request takes more steps than allowed in all."""

    code = "too_much"


_MESSAGES: dict[type[SchedulerError], str] = {
    TooLong: "Its next fire time takes too long to compute.",
    TooMuch: "What the request asks for takes too long to compute; ask for less at once.",
}


class _Allowance:
    def __init__(
        self, steps: int, error: type[SchedulerError], outer: _Allowance | None
    ) -> None:
        self._left, self._error, self._outer = steps, error, outer

    def spend(self, steps: int) -> None:
        self._left -= steps
        if self._left < 0:
            raise self._error(_MESSAGES[self._error])
        if self._outer is not None:
            self._outer.spend(steps)


_allowance: ContextVar[_Allowance | None] = ContextVar("allowance", default=None)


@contextmanager
def allowance(steps: int, error: type[SchedulerError]) -> Iterator[None]:
    """Limit the steps inside the block; `spend` raises the error beyond the limit."""
    token = _allowance.set(_Allowance(steps, error, _allowance.get()))
    try:
        yield
    finally:
        _allowance.reset(token)


@contextmanager
def apart(steps: int, error: type[SchedulerError]) -> Iterator[None]:
    """Like `allowance`, for steps that do not count outside of the block."""
    token = _allowance.set(_Allowance(steps, error, None))
    try:
        yield
    finally:
        _allowance.reset(token)


def spend(steps: int) -> None:
    if (found := _allowance.get()) is not None:
        found.spend(steps)
