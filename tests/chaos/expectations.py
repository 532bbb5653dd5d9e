"""What the calls about one task say about when it fires, surely or perhaps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from tests.chaos.evidence import GONE, NEVER, Call, Grid


@dataclass(frozen=True)
class Span:
    """A time in which a task fires: surely inside, perhaps at its edges."""

    grid: Grid
    maybe_from: float
    sure_from: float
    sure_until: float = NEVER
    maybe_until: float = NEVER
    # Any moment from the grid's to this one may be the fire time instead.
    loose_until: float = -NEVER

    def may_fire(self, planned: int) -> bool:
        if self.grid.start <= planned <= self.loose_until * 1000:
            return True
        is_within = self.maybe_from <= planned / 1000 <= self.maybe_until
        return is_within and self.grid.has(planned)

    def must_fire(self) -> Iterator[int]:
        return self.grid.between(self.sure_from, self.sure_until)


@dataclass
class History:
    """What the calls about one task say about when it fires."""

    spans: list[Span] = field(default_factory=list)
    stops: list[tuple[float, float]] = field(default_factory=list)
    replaced: list[tuple[float, int]] = field(default_factory=list)
    # Some call may have been done, or not, or may yet be.
    is_unsure: bool = False
    # A create that nobody answered may bring a removed name back.
    may_come_back: bool = False
    is_stopped: bool = False
    lost: list[Call] = field(default_factory=list)
    _open: list[Span] = field(default_factory=list)
    _grid: Grid | None = None
    _paused_at: float = NEVER

    def hear(self, call: Call) -> None:
        if call.status == GONE:
            self._check_refusal(call)
        # To a task that is past its end, nothing can be done any more.
        is_over = call.status == GONE and self._is_over(call.answered)
        if is_over or not (call.is_done or call.is_unsure or call.is_gone):
            return
        was_unsure = self.is_unsure
        self.is_unsure |= call.is_unsure
        if call.is_unsure and call.is_cron and call.grid:
            self.may_come_back = True
        match call.verb:
            case "create":
                self._grid = call.grid
                self._begin(call)
            case "replace":
                self._replace(call, was_unsure)
            case "pause" | "delete":
                self._stop(call)
            case "resume":
                self._resume(call)

    def _begin(self, call: Call) -> None:
        assert self._grid is not None
        # A cron fires from the moment on in which it was stored; the others at their
        # start, even if the answer took longer than that.
        begins_now = call.is_cron or call.verb == "resume"
        sure_from = call.answered if begins_now else -NEVER
        told_at = NEVER if self.is_unsure else call.answered
        is_loose = call.is_prompt and told_at * 1000 > self._grid.start
        self._open.append(
            Span(
                self._grid,
                maybe_from=call.sent if begins_now else -NEVER,
                sure_from=NEVER if self.is_unsure or is_loose else sure_from,
                loose_until=told_at if is_loose else -NEVER,
            )
        )

    def _replace(self, call: Call, was_unsure: bool) -> None:
        assert call.grid is not None
        if call.is_done:
            self.replaced.append((call.answered, call.version))
        if call.grid == self._grid and not was_unsure:
            # It keeps its place in time, whether the call was heard or not.
            return
        self._stop(call)
        self._grid = call.grid
        self._begin(call)

    def _stop(self, call: Call) -> None:
        assert self._grid is not None
        if not self._grid.every:
            if call.verb == "pause":
                # A one-time task waits through a pause, and its run comes after it.
                self._paused_at = min(self._paused_at, call.sent)
                self._note_stop(call)
                return
            call_sent = min(call.sent, self._paused_at)
        else:
            call_sent = call.sent
        self._open = [
            replace(span, sure_until=min(span.sure_until, call_sent))
            for span in self._open
        ]
        is_final = call.is_gone and not self.may_come_back
        if is_final or not (call.is_unsure or self.is_unsure):
            self.spans += [replace(s, maybe_until=call.answered) for s in self._open]
            self._open = []
        if call.verb != "replace":
            self._note_stop(call)

    def _note_stop(self, call: Call) -> None:
        self.is_stopped = True
        is_final = call.is_gone and not self.may_come_back
        if is_final or (call.is_done and not self.is_unsure):
            self.stops.append((call.answered, NEVER))

    def _resume(self, call: Call) -> None:
        if self.stops and self.stops[-1][1] == NEVER:
            self.stops[-1] = (self.stops[-1][0], call.sent)
        assert self._grid is not None
        if self._grid.every:
            self._begin(call)

    def _is_over(self, moment: float) -> bool:
        end = self._grid.end if self._grid else None
        return end is not None and moment * 1000 >= end

    def _check_refusal(self, call: Call) -> None:
        """A task that was promised, and neither ended nor was removed, must be there."""
        if self.is_unsure or self._grid is None:
            return
        end = self._grid.end if self._grid.every else self._grid.start
        if end is None or call.answered * 1000 < end:
            self.lost.append(call)

    def all_spans(self) -> list[Span]:
        return [*self.spans, *self._open]


def history_of(calls: Iterable[Call]) -> History:
    history = History()
    for call in calls:
        history.hear(call)
    return history
