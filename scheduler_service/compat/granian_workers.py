"""A granian server that replaces every process that dies.

Changes `MPServer._respawn_workers` of granian 2.8. granian takes two deaths within some
seconds for an application that does not load, and stops with all its processes. Ours is
loaded before they start. Needed until granian can be told to go on.
"""

from __future__ import annotations

from typing import Any

from granian.server.mp import MPServer

# Seconds between new processes, so that those that die at once use little of a core.
RESPAWN_DELAY = 1.0


class RespawningServer(MPServer):
    def _respawn_workers(
        self, workers: Any, spawn_target: Any, target_loader: Any, delay: float = 0
    ) -> None:
        super()._respawn_workers(workers, spawn_target, target_loader, RESPAWN_DELAY)
        # granian counts deaths by this.
        self.respawned_wrks.clear()
