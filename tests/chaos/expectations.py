"""Computes from the calls about one task when it must fire, and when it may."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from tests.chaos.evidence import NEVER, NOT_FOUND, ClientCall, FireTimes


@dataclass(frozen=True)
class FireWindow:
    """A period in which a task fires: certainly inside, possibly at its edges."""

    fire_times: FireTimes
    possible_from: float
    certain_from: float
    certain_until: float = NEVER
    possible_until: float = NEVER
    # Any moment from the first fire time to this one may be the fire time instead.
    anywhere_until: float = -NEVER

    def may_fire(self, scheduled_ms: int) -> bool:
        if self.fire_times.start <= scheduled_ms <= self.anywhere_until * 1000:
            return True
        is_within = self.possible_from <= scheduled_ms / 1000 <= self.possible_until
        return is_within and scheduled_ms in self.fire_times

    def required_fire_times(self) -> Iterator[int]:
        return self.fire_times.between(self.certain_from, self.certain_until)


@dataclass
class Expectation:
    """What the service must do, and may do, with one task."""

    windows: list[FireWindow] = field(default_factory=list)
    # When nothing may be sent any more: from an answer until the next resume.
    stops: list[tuple[float, float]] = field(default_factory=list)
    replacements: list[tuple[float, int]] = field(default_factory=list)
    # Whether some call may have been carried out or not, or may yet be.
    is_uncertain: bool = False
    # Whether a create without an answer may bring a removed name back.
    may_return: bool = False
    is_stopped: bool = False
    # Calls that found no task, though it must be there.
    lost_calls: list[ClientCall] = field(default_factory=list)
    _open_windows: list[FireWindow] = field(default_factory=list)
    _fire_times: FireTimes | None = None
    _paused_at: float = NEVER
    # When the last pause was sent; a resume may make up for the time since then.
    _pause_sent_at: float = NEVER
    _may_end_early: bool = False

    def apply(self, call: ClientCall) -> None:
        if call.status == NOT_FOUND:
            self._check_refusal(call)
        # After the end of a task, no call has an effect any more.
        is_over = call.status == NOT_FOUND and self._is_over(call.answered_at)
        if is_over or not (call.is_done or call.is_uncertain or call.is_gone):
            return
        was_uncertain = self.is_uncertain
        self.is_uncertain |= call.is_uncertain
        if call.is_uncertain and call.is_cron and call.fire_times:
            self.may_return = True
        match call.verb:
            case "create":
                self._fire_times = call.fire_times
                self._may_end_early = call.max_runs > 0
                self._open_window(call)
            case "replace":
                self._replace(call, was_uncertain)
            case "pause" | "delete":
                self._stop(call)
            case "resume":
                self._resume(call)

    def _open_window(self, call: ClientCall) -> None:
        assert self._fire_times is not None
        # Crons and recurrence rules fire from the moment on at which they were stored; the
        # others at their start, even if the answer took longer than that.
        begins_now = call.is_cron or call.is_rule or call.verb == "resume"
        possible_from = call.sent_at if begins_now else -NEVER
        certain_from = call.answered_at if begins_now else -NEVER
        if call.catch_up:
            # As if there had been no pause. A task that ended meanwhile makes up for nothing.
            possible_from = self._pause_sent_at
            is_over = self._is_over(call.answered_at)
            certain_from = NEVER if is_over else self._pause_sent_at
        stored_by = NEVER if self.is_uncertain else call.answered_at
        is_anywhere = call.runs_if_late and stored_by * 1000 > self._fire_times.start
        self._open_windows.append(
            FireWindow(
                self._fire_times,
                possible_from=possible_from,
                certain_from=NEVER
                if self.is_uncertain or is_anywhere
                else certain_from,
                anywhere_until=stored_by if is_anywhere else -NEVER,
            )
        )

    def _replace(self, call: ClientCall, was_uncertain: bool) -> None:
        assert call.fire_times is not None
        if call.is_done:
            self.replacements.append((call.answered_at, call.version))
        if call.fire_times == self._fire_times and not was_uncertain:
            # The task keeps its place in time, whether the call was answered or not.
            return
        self._stop(call)
        self._fire_times = call.fire_times
        self._open_window(call)

    def _stop(self, call: ClientCall) -> None:
        assert self._fire_times is not None
        stopped_at = call.sent_at
        if call.verb == "pause":
            self._pause_sent_at = call.sent_at
        if not self._fire_times.every:
            if call.verb == "pause":
                # A one-time task waits through a pause, and its run comes after it.
                self._paused_at = min(self._paused_at, call.sent_at)
                self._note_stop(call)
                return
            stopped_at = min(call.sent_at, self._paused_at)
        self._close_windows(call, stopped_at)
        if call.verb != "replace":
            self._note_stop(call)

    def _close_windows(self, call: ClientCall, stopped_at: float) -> None:
        self._open_windows = [
            replace(window, certain_until=min(window.certain_until, stopped_at))
            for window in self._open_windows
        ]
        if self._is_final(call) or not (call.is_uncertain or self.is_uncertain):
            self.windows += [
                replace(window, possible_until=call.answered_at)
                for window in self._open_windows
            ]
            self._open_windows = []

    def _note_stop(self, call: ClientCall) -> None:
        self.is_stopped = True
        if self._is_final(call) or (call.is_done and not self.is_uncertain):
            self.stops.append((call.answered_at, NEVER))

    def _is_final(self, call: ClientCall) -> bool:
        return call.is_gone and not self.may_return

    def _resume(self, call: ClientCall) -> None:
        if self.stops and self.stops[-1][1] == NEVER:
            self.stops[-1] = (self.stops[-1][0], call.sent_at)
        assert self._fire_times is not None
        if self._fire_times.every:
            self._open_window(call)

    def _is_over(self, moment: float) -> bool:
        """Whether the task may have ended by itself; its last runs may still be sent."""
        if self._may_end_early:
            return True
        end = self._fire_times.end if self._fire_times else None
        return end is not None and moment * 1000 >= end

    def _check_refusal(self, call: ClientCall) -> None:
        """A task that was accepted, and neither ended nor was removed, must be there."""
        if self.is_uncertain or self._may_end_early or self._fire_times is None:
            return
        times = self._fire_times
        end = times.end if times.every else times.start
        if end is None or call.answered_at * 1000 < end:
            self.lost_calls.append(call)

    def all_windows(self) -> list[FireWindow]:
        return [*self.windows, *self._open_windows]


def expectation_of(calls: Iterable[ClientCall]) -> Expectation:
    expectation = Expectation()
    for call in calls:
        expectation.apply(call)
    return expectation
