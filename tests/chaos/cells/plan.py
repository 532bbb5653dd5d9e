"""Plans a round over cells from a seed: one fault after the other, and moves in their middle.

One cell is broken at a time, so that the others show what they notice of it. After some
faults nothing is broken for a while, which shows what is normal.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from tests.chaos.cells.faults import CELL_KINDS, SHARED_KINDS, SharedKind
from tests.chaos.faults import FaultKind
from tests.chaos.plan import PlannedFault

# Seconds before the first fault, as a share of the round, and at least.
FIRST_CALM_SHARE, FIRST_CALM = 0.05, 12.0
# Seconds after a fault before the next one.
PAUSE = 4.0
# After so many faults nothing is broken for so many seconds.
FAULTS_BETWEEN_CALMS, CALM = 8, 20.0
# A second fault of the same cell comes with so many of the faults.
DOUBLE_SHARE = 0.3
# A move begins with each fault of these places between two calms.
MOVES_BETWEEN_CALMS = (0, 3, 5)
# So many of these moves leave the cell of the fault, if there is somebody to leave it.
LEAVING_SHARE = 0.5
# A tenant is left alone for so many seconds after the beginning of its move.
MOVE_SECONDS = 45.0
# A move begins so many seconds before a fault, or so many after it.
HEAD_START, LATE_START = 2.5, 4.0
# What a move says at the moments after which it is killed, within so many seconds. After
# the last ones it cannot be taken back.
STEPS = ("history copied", "frozen", "put aside", "copied", "verified", "arrived")
LAST_STEPS = ("flipped", "thawed")
KILL_DELAY = 0.3
# What happens to moves: said once, killed and said again, or killed and taken back.
PLAIN, KILLED, TAKEN_BACK = "", "killed", "taken back"
FATES = (PLAIN, KILLED, KILLED, TAKEN_BACK)


class PlannedMove(NamedTuple):
    """A move of a tenant to a cell. If it is killed, it may be taken back then."""

    at: float
    tenant: str
    cell: str
    kill_after: str = ""
    kill_delay: float = 0.0
    is_taken_back: bool = False

    @property
    def victims(self) -> tuple[str, ...]:
        return (self.tenant,)

    @property
    def kind(self) -> str:
        if self.is_taken_back:
            return "move: killed, taken back"
        return "move: killed, said again" if self.kill_after else "move"

    @property
    def description(self) -> str:
        killed = f", killed after {self.kill_after!r}" if self.kill_after else ""
        ending = ", taken back" if self.is_taken_back else ""
        return f"move: {self.tenant} to {self.cell}{killed}{ending}"


PlannedItem = PlannedFault | PlannedMove


def name_victims(cell: str, parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{cell}:{part}" for part in parts)


def split_victims(victims: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The place of victims, and those of them that are parts of a cell."""
    pairs = [victim.partition(":") for victim in victims]
    return pairs[0][0], tuple(part for _, _, part in pairs)


def plan_group(
    seed: int, seconds: float, homes: dict[str, str], *, only: str = ""
) -> list[PlannedItem]:
    """Plan a round for tenants in their cells. The same arguments give the same plan."""
    return _Planner(seed, seconds, homes, only).plan()


class _Planner:
    def __init__(
        self, seed: int, seconds: float, homes: dict[str, str], only: str
    ) -> None:
        self._rng = random.Random(f"cells {seed}")
        self._seconds = seconds
        self._homes = dict(homes)
        self._cells = sorted(set(homes.values()))
        # The first tenant of each cell stays there, so that no cell is ever empty.
        settled = {cell: name for name, cell in reversed(homes.items())}
        self._movable = [name for name in homes if name not in settled.values()]
        kinds = (*CELL_KINDS, *SHARED_KINDS)
        self._kinds = [kind for kind in kinds if only in kind.name]
        self._deck: list[FaultKind | SharedKind] = []
        self._cell_deck: list[str] = []
        self._busy_until: dict[str, float] = {}

    def plan(self) -> list[PlannedItem]:
        planned: list[PlannedItem] = []
        at, count = max(FIRST_CALM, FIRST_CALM_SHARE * self._seconds), 0
        while self._kinds and at < self._seconds:
            cell = self._draw_cell()
            faults = self._draw_faults(cell, at)
            planned += faults
            if count % FAULTS_BETWEEN_CALMS in MOVES_BETWEEN_CALMS:
                planned += self._draw_move(cell, faults[0])
            count += 1
            is_calm_next = count % FAULTS_BETWEEN_CALMS == 0
            at = max(each.at + each.seconds for each in faults)
            at += CALM if is_calm_next else PAUSE
        return sorted(planned, key=lambda each: each.at)

    def _draw_cell(self) -> str:
        if not self._cell_deck:
            self._cell_deck = self._rng.sample(self._cells, len(self._cells))
        return self._cell_deck.pop()

    def _draw_kind(self) -> FaultKind | SharedKind:
        if not self._deck:
            self._deck = self._rng.sample(self._kinds, len(self._kinds))
        return self._deck.pop()

    def _draw_faults(self, cell: str, at: float) -> list[PlannedFault]:
        """A fault, and sometimes another one of another part of the same cell."""
        kind = self._draw_kind()
        faults = [self._place(kind, cell, at)]
        if isinstance(kind, FaultKind) and self._rng.random() < DOUBLE_SHARE:
            others = [
                each for each in CELL_KINDS if not set(each.group) & set(kind.group)
            ]
            if others:
                later = round(at + self._rng.uniform(0.0, 2.0), 2)
                faults.append(self._place(self._rng.choice(others), cell, later))
        return faults

    def _place(
        self, kind: FaultKind | SharedKind, cell: str, at: float
    ) -> PlannedFault:
        victims: tuple[str, ...]
        if isinstance(kind, SharedKind):
            victims, bounds = (kind.part,), kind.durations
        else:
            victims = name_victims(cell, kind.group)
            bounds = self._rng.choice(kind.durations)
        return PlannedFault(
            round(at, 2), kind.name, victims, round(self._rng.uniform(*bounds), 2)
        )

    def _draw_move(self, cell: str, fault: PlannedFault) -> list[PlannedMove]:
        """A move from or to the cell of a fault, about when that begins; or none."""
        late = min(LATE_START, fault.seconds)
        at = round(fault.at + self._rng.uniform(-HEAD_START, late), 2)
        free = [name for name in self._movable if self._busy_until.get(name, 0.0) <= at]
        if not free or len(self._cells) < 2:
            return []
        own = [name for name in free if self._homes[name] == cell]
        leaves = bool(own) and self._rng.random() < LEAVING_SHARE
        tenant = self._rng.choice(own if leaves else free)
        home = self._homes[tenant]
        others = [each for each in self._cells if each != home]
        target = cell if cell != home else self._rng.choice(others)
        fate = self._rng.choice(FATES)
        self._busy_until[tenant] = at + MOVE_SECONDS
        if fate != TAKEN_BACK:
            self._homes[tenant] = target
        steps = STEPS if fate == TAKEN_BACK else STEPS + LAST_STEPS
        step = self._rng.choice(steps) if fate else ""
        delay = round(self._rng.uniform(0.0, KILL_DELAY), 3)
        return [PlannedMove(at, tenant, target, step, delay, fate == TAKEN_BACK)]
