"""Health checks for load balancers and people: `/healthz` and `/readyz`."""

from __future__ import annotations

import threading
import time
from typing import Any

from django.conf import settings
from django.db import Error as DatabaseError
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from scheduler_service.db import schema
from scheduler_service.db.primaries import UnusableSession
from tasks_api.messaging import broker
from tasks_api.messaging.errors import BrokerAway, UnusableBroker
from tasks_api.monitoring import heartbeats


@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """Respond with 200 as long as this process lives."""
    return JsonResponse({"status": "ok"})


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """Respond with 200 while the database is usable. Other outages only delay runs."""
    status, state = readiness.current()
    if settings.SCHEDULER_CELL:
        state = {**state, "cell": settings.SCHEDULER_CELL}
    return JsonResponse(state, status=status)


class Readiness:
    """Checks database and broker at most once a second.

    Anybody may call this endpoint, so frequent calls must stay cheap.
    """

    MAX_AGE = 1.0

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        self._last: tuple[int, dict[str, Any]] | None = None
        self._checked_at = -self.MAX_AGE

    def current(self) -> tuple[int, dict[str, Any]]:
        # While one thread checks, the others return the previous result.
        if self._lock.acquire(blocking=self._last is None):
            try:
                if time.monotonic() - self._checked_at >= self.MAX_AGE:
                    self._last = _check()
                    self._checked_at = time.monotonic()
            finally:
                self._lock.release()
        assert self._last is not None
        return self._last


readiness = Readiness()


def _check() -> tuple[int, dict[str, Any]]:
    try:
        if complaint := schema.find_schema_problem():
            return 503, {"status": "unavailable", "database": complaint}
        processes = heartbeats.count_alive()
    except DatabaseError as error:
        return 503, _describe_database_error(error)
    broker_state = _check_broker()
    complete = broker_state["broker"] == "ok" and all(
        found["alive"] for found in processes.values()
    )
    status = "ok" if complete else "degraded"
    state = {"status": status, "database": "ok", **broker_state, **processes}
    return 200, state | {"time_zones": settings.TIME_ZONE_RULES.version}


def _describe_database_error(error: DatabaseError) -> dict[str, str]:
    if isinstance(error.__cause__, UnusableSession):
        return {"status": "unavailable", "database": "unfit", "reason": str(error)}
    return {"status": "unavailable", "database": "unreachable"}


def _check_broker() -> dict[str, str]:
    try:
        broker.check_usable(settings.CELERY_BROKER_URL)
    except BrokerAway:
        return {"broker": "unreachable"}
    except UnusableBroker as reason:
        return {"broker": "unfit", "reason": str(reason)}
    return {"broker": "ok"}
