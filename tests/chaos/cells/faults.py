"""The kinds of faults of a cell, and of what all cells share."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos.cells.cell import CELL_PARTS, CELL_SERVERS, Cell
from tests.chaos.cells.cell_group import CellGroup
from tests.chaos.cells.group_door import DIRECTORY, FOLLOWER, HAPROXY
from tests.chaos.cluster import Cluster
from tests.chaos.fault_actions import freeze, kill, make_server_restart, wipe_redis
from tests.chaos.faults import FaultKind
from tests.chaos.steps import POLL_INTERVAL, FaultSteps

STOPS = ((0.3, 4.0),)
# Seconds within which a new process is at work, also while its servers are broken.
START_TIMEOUT = 120.0
WHOLE_CELL = (*CELL_PARTS, *CELL_SERVERS)
POSTGRES, REDIS, WEB, WORKER, BEAT = (
    (name,) for name in ("postgres", "redis", "web", "worker-1", "beat-1")
)


def kill_process(
    cluster: Cluster, victims: tuple[str, ...], seconds: float
) -> FaultSteps:
    """Kill a process; it is repaired once the new one is at work."""
    assert isinstance(cluster, Cell)
    yield from kill(cluster, victims, seconds)
    until = time.monotonic() + START_TIMEOUT
    while not all(cluster.is_at_work(name) for name in victims):
        if time.monotonic() > until:
            cluster.report_failure(f"{victims} did not come back")
            return
        yield POLL_INTERVAL


CELL_KINDS = (
    FaultKind("PostgreSQL: immediate stop", make_server_restart(signal.SIGQUIT), POSTGRES, durations=STOPS, loses_requests=True),
    FaultKind("PostgreSQL: kill -9", make_server_restart(signal.SIGKILL), POSTGRES, durations=STOPS, loses_requests=True),
    FaultKind("Redis: kill -9, without its data", wipe_redis, REDIS, durations=STOPS, takes_bells=True),
    FaultKind("worker: kill -9", kill_process, WORKER, durations=STOPS, loses_requests=True),
    FaultKind("beat: kill -9", kill_process, BEAT, durations=STOPS),
    FaultKind("web: kill -9", kill_process, WEB, durations=STOPS),
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
