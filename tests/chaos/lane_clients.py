"""The client that keeps lanes: it floods, pauses and resumes them, and changes their rates."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.chaos.clients import RETRY_DELAY, format_time, read_details
from tests.chaos.control_calls import LaneCall
from tests.chaos.evidence import ClientCall, FireTimeGrid
from tests.chaos.workloads import PeriodicClient

# How often a client tries to let a lane go on while no part is broken any more.
MAX_RESUME_TRIES = 20
PERIODS = {"second": 1.0, "minute": 60.0}


class LaneCase(NamedTuple):
    """The limits of a lane, and what is sent there."""

    limits: dict[str, Any]
    # The rates that it may have; the first one is that of its beginning.
    rates: tuple[int, ...]
    # So many tasks are due at once, every few seconds.
    flood: int
    behaviours: tuple[str, ...] = ("ok",)


CASES = (
    LaneCase({"rate": {"per": "second"}}, (20, 5, 12), 30),
    LaneCase({"rate": {"per": "second", "burst": 4}}, (10, 20), 14),
    LaneCase({"rate": {"per": "minute"}, "concurrency": 3}, (90, 120), 5, ("brief",)),
    LaneCase({"concurrency": 2}, (), 8, ("brief", "brief", "ok", "drip")),
    LaneCase(
        {"rate": {"per": "second"}, "breaker": {"after": 3, "for": 2}},
        (10,),
        8,
        ("ok", "fail", "fail"),
    ),
    LaneCase({"rate": {"per": "second"}}, (15,), 6, (*("ok",) * 6, "busy")),
)


@dataclass
class KnownLane:
    """A lane as its client knows it."""

    name: str
    case: LaneCase
    is_paused: bool = False
    is_uncertain: bool = False


class LaneClient(PeriodicClient):
    """Keeps a lane of each kind. It leaves a lane of which it got no answer, and makes another."""

    kind = "laned"
    task_count = 4

    def begin(self) -> None:
        self._lanes: list[KnownLane] = []
        for case in CASES:
            self._create_lane(case)
        super().begin()

    def choose_case(self) -> tuple[str, dict[str, Any]]:
        usable = [lane for lane in self._lanes if not lane.is_uncertain]
        if not usable:
            return "ok", {}
        lane = self.rng.choice(usable)
        # Admission would refuse what a lane cannot take at once.
        policies = {"lane": lane.name, "admit": "anyway"}
        return self.rng.choice(lane.case.behaviours), policies

    def _create_lane(self, case: LaneCase) -> None:
        lane = KnownLane(self.new_mark(), case)
        rate = case.rates[0] if case.rates else 0
        body = {"name": lane.name, **_limits(case, rate)}
        call = self._call_lane(lane, "create", "POST", "/lanes/", body, rate)
        if not call.is_done:
            self.schedule(RETRY_DELAY, lambda: self._create_lane(case))
            return
        self._lanes.append(lane)
        self.schedule(0.5, lambda: self._flood(lane))
        self.schedule(self.rng.uniform(3.0, 9.0), lambda: self._change_lane(lane))

    def _call_lane(
        self,
        lane: KnownLane,
        verb: str,
        method: str,
        path: str,
        body: Any = None,
        rate: int = 0,
    ) -> LaneCall:
        sent_at = time.time()
        status, _ = self.send(method, path, body)
        period = PERIODS[lane.case.limits.get("rate", {}).get("per", "second")]
        call = LaneCall(
            *(lane.name, verb, sent_at, time.time(), status),
            rate=rate,
            period=period,
            concurrency=lane.case.limits.get("concurrency", 0),
        )
        self.call_log.control.lanes.append(call)
        if call.is_uncertain and not lane.is_uncertain and lane in self._lanes:
            lane.is_uncertain = True
            self.schedule(RETRY_DELAY, lambda: self._create_lane(lane.case))
        return call

    def _flood(self, lane: KnownLane) -> None:
        """Create tasks that are due at the same moment."""
        if lane.is_uncertain:
            return
        self.schedule(self.rng.uniform(5.0, 9.0), lambda: self._flood(lane))
        due = round((time.time() + self.rng.uniform(1.5, 3.0)) * 10) * 100
        marks = [self.new_mark() for _ in range(lane.case.flood)]
        bodies: dict[str, dict[str, Any]] = {
            mark: {
                "task_type": "one_time",
                "run_datetime": format_time(due),
                "url": self.target_url(self.rng.choice(lane.case.behaviours), mark),
                "lane": lane.name,
            }
            for mark in marks
        }
        sent_at = time.time()
        status, _ = self.send("POST", "/tasks/bulk/", {"tasks": [*bodies.values()]})
        for mark, body in bodies.items():
            call = ClientCall(
                *(mark, "create", sent_at, time.time(), status, FireTimeGrid(due)),
                **read_details(body),
            )
            self.call_log.append(call)

    def _change_lane(self, lane: KnownLane) -> None:
        if lane.is_uncertain:
            return
        if lane.is_paused:
            self._resume_lane(lane)
        elif len(lane.case.rates) > 1 and self.rng.random() < 0.6:
            rate = self.rng.choice(lane.case.rates)
            body = {"rate": _limits(lane.case, rate)["rate"]}
            self._call_lane(lane, "change", "PATCH", f"/lanes/{lane.name}/", body, rate)
        else:
            path = f"/lanes/{lane.name}/pause/"
            lane.is_paused = self._call_lane(lane, "pause", "POST", path, {}).is_done
        pause = (1.0, 4.0) if lane.is_paused else (3.0, 9.0)
        self.schedule(self.rng.uniform(*pause), lambda: self._change_lane(lane))

    def _resume_lane(self, lane: KnownLane) -> bool:
        path = f"/lanes/{lane.name}/resume/"
        call = self._call_lane(lane, "resume", "POST", path, {})
        lane.is_paused &= not call.is_done
        return call.is_done

    def clean_up(self) -> None:
        for lane in self._lanes:
            tries = 0
            while (lane.is_paused or lane.is_uncertain) and tries < MAX_RESUME_TRIES:
                tries = MAX_RESUME_TRIES if self._resume_lane(lane) else tries + 1
        super().clean_up()


def _limits(case: LaneCase, rate: int) -> dict[str, Any]:
    """The limits of a lane with a rate, if it has one."""
    limits = dict(case.limits)
    if rate:
        limits["rate"] = {**limits["rate"], "limit": rate}
    return limits
