"""The steps of a fault: an iterator that yields how many seconds to wait until the next one."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

from tests.chaos.cluster import Cluster, kill_group

# The orchestrator's loop takes the steps, so that several faults run in one thread.
FaultSteps = Iterator[float]
FaultAction = Callable[[Cluster, tuple[str, ...], float], FaultSteps]

# Seconds between two looks at something that takes its own time.
POLL_INTERVAL = 0.1
# Seconds that a part may take to stop: a worker finishes requests of up to 30 s.
STOP_TIMEOUT = 50.0
# Seconds until a new part is of use.
SETTLE_SECONDS = 3.0


def wait_until_ended(
    cluster: Cluster, process: subprocess.Popen[bytes], timeout: float = STOP_TIMEOUT
) -> FaultSteps:
    waited = 0.0
    while process.poll() is None:
        yield POLL_INTERVAL
        waited += POLL_INTERVAL
        if waited > timeout:
            cluster.report_failure(f"{process.args!r} did not stop when told to")
            kill_group(process)


def replace_parts(
    cluster: Cluster, victims: tuple[str, ...], seconds: float
) -> FaultSteps:
    """Start the new parts, then stop the old ones, under load."""
    old = [cluster.parts[name] for name in victims]
    cluster.retiring += old
    for name in victims:
        cluster.launch(name)
    yield SETTLE_SECONDS
    for process in old:
        process.terminate()
    for process in old:
        yield from wait_until_ended(cluster, process)
        cluster.retiring.remove(process)
