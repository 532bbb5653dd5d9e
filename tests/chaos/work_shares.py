"""Notes what each release of a mixed fleet does, to show that both do something."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress

import psycopg

from tests.chaos.cluster import Cluster

THIS_RELEASE, OLDER_RELEASE = "this release", "the release before"
LOOK_INTERVAL = 0.5
# The first 32 bits of a lease are the presence of the worker that holds it.
_RUNS_UNDER_WAY = """
    SELECT run.id::text, heartbeat.name FROM tasks_api_run_live run
    JOIN tasks_api_heartbeat heartbeat ON heartbeat.presence =
        ('x' || left(run.lease::text, 8))::bit(32)::int
"""


class WorkShares(threading.Thread):
    """Looks twice a second at the runs that workers hold; short ones are mostly missed."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(name="work shares", daemon=True)
        self._cluster = cluster
        self._stopped = threading.Event()
        self._runs: dict[str, set[str]] = {}

    def run(self) -> None:
        while not self._stopped.wait(LOOK_INTERVAL):
            with suppress(psycopg.Error):
                for run_id, worker in self._cluster.query(_RUNS_UNDER_WAY):
                    self._runs.setdefault(self._release_of(worker), set()).add(run_id)

    def _release_of(self, worker: str) -> str:
        """By the name of its heartbeat, `worker-PID@HOST`."""
        pid = int(worker.partition("@")[0].rpartition("-")[2])
        return OLDER_RELEASE if pid in self._cluster.older_pids else THIS_RELEASE

    def stop(self) -> Mapping[str, int]:
        """How many runs were seen at the workers of each release."""
        self._stopped.set()
        if self.is_alive():
            # It may wait for a database that has just thawed.
            self.join(10)
        return {release: len(runs) for release, runs in sorted(self._runs.items())}


def answers_by_release(cluster: Cluster, answers: Mapping[str, int]) -> dict[str, int]:
    """How many calls the webs of each release answered; empty if there is only one."""
    fleet, found = cluster.fleet, Counter[str]()
    for name in fleet.webs if fleet.older else ():
        release = OLDER_RELEASE if name in fleet.older else THIS_RELEASE
        found[release] += answers.get(cluster.web_url(name), 0)
    return dict(found)
