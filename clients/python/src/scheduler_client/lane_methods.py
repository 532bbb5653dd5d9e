"""The methods of the client for lanes, the limits that tasks of a target share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scheduler_client.connection import MAX_PAGE_SIZE, ConnectionOwner
from scheduler_client.decoding import decode
from scheduler_client.encoding import Timestamp, quote_segment
from scheduler_client.models import Lane

LaneOrName = Lane | str


class LaneMethods(ConnectionOwner):
    def list_lanes(self) -> Iterator[Lane]:
        """List the lanes of your tenant with their states, the newest first."""
        query = {"limit": MAX_PAGE_SIZE}
        for item in self._connection.get_pages("/lanes/", "lanes", query):
            yield decode(Lane, item)

    def get_lane(self, lane: LaneOrName) -> Lane:
        return decode(Lane, self._connection.get(_lane_path(lane)).body)

    def create_lane(self, name: str, **limits: Any) -> Lane:
        """Create a lane: `host`, `rate`, `concurrency`, `breaker`. For administrators."""
        body = {"name": name, **limits}
        response = self._connection.post("/lanes/", body, idempotent=False)
        return decode(Lane, response.body)

    def change_lane(self, lane: LaneOrName, **limits: Any) -> Lane:
        """Change the given limits of a lane; None takes one away. For administrators."""
        response = self._connection.request(
            "PATCH", _lane_path(lane), body=limits, idempotent=True
        )
        return decode(Lane, response.body)

    def remove_lane(self, lane: LaneOrName) -> None:
        """Remove a lane that no task belongs to. For administrators."""
        self._connection.request("DELETE", _lane_path(lane), idempotent=True)

    def pause_lane(
        self,
        lane: LaneOrName,
        *,
        reason: str | None = None,
        until: Timestamp | None = None,
    ) -> Lane:
        """Let no request of a lane start, until a moment if given. For administrators."""
        body = {"reason": reason, "until": until}
        path = f"{_lane_path(lane)}pause/"
        return decode(Lane, self._connection.post(path, body, idempotent=True).body)

    def resume_lane(self, lane: LaneOrName) -> Lane:
        """Let the requests of a lane start again, at its pace. For administrators."""
        path = f"{_lane_path(lane)}resume/"
        return decode(Lane, self._connection.post(path, None, idempotent=True).body)


def _lane_path(lane: LaneOrName) -> str:
    name = lane.name if isinstance(lane, Lane) else lane
    return f"/lanes/{quote_segment(name)}/"
