"""When the request of a run in a lane may start."""

from __future__ import annotations

from typing import NamedTuple


class StartWindow(NamedTuple):
    """The times by the monotonic clock of this process; the second one is too late."""

    opens_at: float
    closes_at: float
