"""The calls of clients about lanes, calendars, backfills and accounts, and what they say.

What a call without a clear answer did is not known, so a client makes no further call about
the same lane or calendar. Moments are in seconds since 1970, those of spans in milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

# From and to; a moment at the end is outside.
Span = tuple[float, float]


class Answered:
    """What a client knows of a request by the status of its answer."""

    status: int | None  # None where no answer came

    @property
    def is_done(self) -> bool:
        return self.status is not None and self.status < 300

    @property
    def is_uncertain(self) -> bool:
        """It may have been carried out, or may yet be: a frozen server reads it later."""
        return self.status is None or self.status == 429 or self.status >= 500


@dataclass(frozen=True)
class LaneCall(Answered):
    """A request about a lane. A rate is so many requests in so many seconds."""

    lane: str
    verb: str  # create, change, pause or resume
    sent_at: float
    answered_at: float
    status: int | None
    rate: int = 0  # with create and change; 0 where the lane has none
    period: float = 1.0
    concurrency: int = 0


@dataclass(frozen=True)
class CalendarCall(Answered):
    """A version of a calendar: the spans that it covers."""

    calendar: str
    sent_at: float
    answered_at: float
    status: int | None
    spans: tuple[Span, ...]

    def covers(self, moment_ms: float) -> bool:
        return any(since <= moment_ms < until for since, until in self.spans)


@dataclass(frozen=True)
class BackfillCall(Answered):
    """A backfill of all slots between two moments, in milliseconds."""

    mark: str
    sent_at: float
    answered_at: float
    status: int | None
    since_ms: int
    until_ms: int
    backfill: str = ""  # its id, and how many runs it made, by the answer
    count: int = 0


class AccountAnswer(NamedTuple):
    """The account of a task over the whole round, or the status without one."""

    mark: str
    status: int
    balance: int = 0
    missing: int = 0
    unplanned: int = 0
    excluded: int = 0


@dataclass
class ControlCalls:
    """The calls of all clients; each list is in the order of the answers."""

    lanes: list[LaneCall] = field(default_factory=list)
    calendars: list[CalendarCall] = field(default_factory=list)
    backfills: list[BackfillCall] = field(default_factory=list)


class CalendarHistory:
    """What a calendar covered at a moment, as far as its client was told."""

    def __init__(self, calls: Sequence[CalendarCall]) -> None:
        self._calls = [call for call in calls if call.is_done or call.is_uncertain]

    def may_cover(self, moment_ms: float) -> bool:
        return any(call.covers(moment_ms) for call in self._possible(moment_ms))

    def must_cover(self, moment_ms: float) -> bool:
        possible = list(self._possible(moment_ms))
        return bool(possible) and all(call.covers(moment_ms) for call in possible)

    def _possible(self, moment_ms: float) -> Iterator[CalendarCall]:
        """The versions that may have counted then."""
        for place, call in enumerate(self._calls):
            is_replaced = any(
                later.is_done and later.answered_at * 1000 < moment_ms
                for later in self._calls[place + 1 :]
            )
            if call.sent_at * 1000 <= moment_ms and not is_replaced:
                yield call

    def changed_between(self, since: float, until: float) -> bool:
        """Whether a version may have come while a fire time of `since` was not taken."""
        return any(
            call.sent_at <= until and call.answered_at >= since for call in self._calls
        )

    def must_hold_until(self, moment_ms: float) -> float:
        """The first moment from this one on at which it may not cover any more."""
        edges = {moment_ms}
        for call in self._calls:
            edges |= {call.sent_at * 1000, *(until for _, until in call.spans)}
        for edge in sorted(each for each in edges if each >= moment_ms):
            if not self.must_cover(edge):
                return edge
        return moment_ms
