"""The kinds of faults of a cell, and of what all cells share."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos.cells.cell import CELL_PARTS, CELL_SERVERS
from tests.chaos.cells.cell_group import CellGroup
from tests.chaos.cells.group_door import DIRECTORY, FOLLOWER, HAPROXY
from tests.chaos.fault_actions import freeze, kill, make_server_restart, wipe_redis
from tests.chaos.faults import FaultKind
from tests.chaos.steps import FaultSteps

STOPS = ((0.3, 4.0),)
WHOLE_CELL = (*CELL_PARTS, *CELL_SERVERS)
POSTGRES, REDIS, WEB, WORKER, BEAT = (
    (name,) for name in ("postgres", "redis", "web", "worker-1", "beat-1")
)

CELL_KINDS = (
    FaultKind("PostgreSQL: immediate stop", make_server_restart(signal.SIGQUIT), POSTGRES, durations=STOPS, loses_requests=True),
    FaultKind("PostgreSQL: kill -9", make_server_restart(signal.SIGKILL), POSTGRES, durations=STOPS, loses_requests=True),
    FaultKind("Redis: kill -9, without its data", wipe_redis, REDIS, durations=STOPS, takes_bells=True),
    FaultKind("worker: kill -9", kill, WORKER, durations=STOPS, loses_requests=True),
    FaultKind("beat: kill -9", kill, BEAT, durations=STOPS),
    FaultKind("web: kill -9", kill, WEB, durations=STOPS),
    FaultKind("cell: SIGSTOP", freeze, WHOLE_CELL, len(WHOLE_CELL), ((1.0, 4.0), (4.0, 10.0)), loses_requests=True),
)  # fmt: skip
CELL_KIND_BY_NAME = {kind.name: kind for kind in CELL_KINDS}


@dataclass(frozen=True)
class SharedKind:
    """A kind of fault of a part that all cells share."""

    name: str
    action: Callable[[CellGroup, float], FaultSteps]
    part: str
    durations: tuple[float, float]


def make_kill(part: str) -> Callable[[CellGroup, float], FaultSteps]:
    def kill_part(group: CellGroup, seconds: float) -> FaultSteps:
        group.door.kill_part(part)
        yield seconds
        group.door.start_part(part)

    return kill_part


def stop_directory(group: CellGroup, seconds: float) -> FaultSteps:
    group.door.stop_part(DIRECTORY)
    yield seconds
    group.door.start_part(DIRECTORY)


SHARED_KINDS = (
    SharedKind("door: kill -9", make_kill(HAPROXY), HAPROXY, (0.1, 2.0)),
    SharedKind("follower: kill -9", make_kill(FOLLOWER), FOLLOWER, (1.0, 6.0)),
    SharedKind("directory: stopped", stop_directory, DIRECTORY, (2.0, 10.0)),
)
SHARED_KIND_BY_NAME = {kind.name: kind for kind in SHARED_KINDS}
