"""Plans which faults happen when in a round, from a seed."""

from __future__ import annotations

import random
from typing import NamedTuple

from tests.chaos.faults import ACTS, KIND_BY_NAME, KINDS, FaultKind
from tests.chaos.fleets import USUAL_FLEET, Fleet

# A round of so many seconds has acts.
LONG_ROUND = 120.0
# The victims of an act are left alone for so many seconds before it.
REST_BEFORE_ACT = 15.0


class PlannedFault(NamedTuple):
    """A fault, `at` seconds after the beginning of the round, for so many seconds."""

    at: float
    kind: str
    victims: tuple[str, ...]
    seconds: float

    @property
    def description(self) -> str:
        length = f", for {self.seconds:g} s" if self.seconds else ""
        return f"{self.kind}: {', '.join(self.victims)}{length}"


def plan_faults(
    seed: int,
    seconds: float,
    *,
    interval: float = 1.0,
    only: str = "",
    fleet: Fleet = USUAL_FLEET,
) -> list[PlannedFault]:
    """Plan a round: the same seed and length give the same faults at the same times."""
    return _Planner(seed, seconds, interval, only, fleet).plan()


class _Planner:
    """Draws kinds from a shuffled deck of cards, so that each kind has its turn.

    A card whose victims are not whole waits; the first such card reserves its victims, or
    it would wait for ever.
    """

    def __init__(
        self, seed: int, seconds: float, interval: float, only: str, fleet: Fleet
    ) -> None:
        self._rng = random.Random(seed)
        self._seconds = seconds
        self._interval = interval
        self._fleet = fleet
        self._kinds = [kind.in_fleet(fleet) for kind in KINDS if only in kind.name]
        self._acts = self._choose_acts(only) if seconds >= LONG_ROUND or only else []
        self._deck: list[FaultKind] = []
        self._busy_until: dict[str, float] = {}

    def plan(self) -> list[PlannedFault]:
        planned: list[PlannedFault] = []
        at = self._interval
        while at < self._seconds:
            if self._acts and self._acts[0].at <= at:
                planned.append(act := self._acts.pop(0))
                rest = KIND_BY_NAME[act.kind].rest
                self._keep_busy(act.victims, act.at + act.seconds + rest)
            elif self._acts and self._acts[0].at <= at + REST_BEFORE_ACT:
                self._keep_busy(self._acts[0].victims, self._acts[0].at)
            if (card := self._draw_card(at)) is not None:
                planned.append(self._place(*card, at))
            at += self._interval
        return planned

    def _choose_acts(self, only: str) -> list[PlannedFault]:
        acts = []
        for share, kinds in ACTS:
            if fitting := [kind for kind in kinds if only in kind.name]:
                kind = self._rng.choice(fitting).in_fleet(self._fleet)
                at, seconds = round(share * self._seconds, 2), self._draw_seconds(kind)
                acts.append(PlannedFault(at, kind.name, kind.group, seconds))
        return acts

    def _draw_seconds(self, kind: FaultKind) -> float:
        return round(self._rng.uniform(*self._rng.choice(kind.durations)), 2)

    def _keep_busy(self, victims: tuple[str, ...], until: float) -> None:
        for name in victims:
            self._busy_until[name] = max(until, self._busy_until.get(name, 0.0))

    def _draw_card(self, at: float) -> tuple[FaultKind, tuple[str, ...]] | None:
        reserved: set[str] = set()
        # The next deck lies behind this one, for when all that is left of it must wait.
        while self._kinds and len(self._deck) <= len(self._kinds):
            self._deck.extend(self._rng.sample(self._kinds, len(self._kinds)))
        for kind in list(self._deck):
            free = [
                name
                for name in kind.group
                if name not in reserved and self._busy_until.get(name, 0.0) <= at
            ]
            if len(free) >= kind.victim_count:
                self._deck.remove(kind)
                return kind, tuple(sorted(self._rng.sample(free, kind.victim_count)))
            if not reserved:
                reserved.update(kind.group if kind.victim_count > 1 else ())
        return None

    def _place(
        self, kind: FaultKind, victims: tuple[str, ...], at: float
    ) -> PlannedFault:
        is_before_act = self._acts and not set(victims).isdisjoint(
            self._acts[0].victims
        )
        end = self._acts[0].at if is_before_act else self._seconds
        seconds = min(self._draw_seconds(kind), round(end - at, 2))
        self._keep_busy(victims, at + seconds + kind.rest)
        return PlannedFault(round(at, 2), kind.name, victims, seconds)
