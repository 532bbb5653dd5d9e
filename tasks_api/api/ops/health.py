"""Is the service alive, and is it ready: for load balancers and for people."""

from __future__ import annotations

import threading
import time
from typing import Any

import redis
from django.conf import settings
from django.db import Error as DatabaseError
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from scheduler_service.db import schema
from scheduler_service.db.primaries import Unfit
from tasks_api.messaging import broker
from tasks_api.monitoring import heartbeats


@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """This process lives. Asks nobody."""
    return JsonResponse({"status": "ok"})


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """200 while the database answers, and fits. What else is missing only delays runs."""
    status, said = readiness.now()
    return JsonResponse(said, status=status)


class Readiness:
    """Asks database and broker once a second at most, however often it is asked: everybody
    may, so it must not cost what they can make of it."""

    FRESH = 1.0

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        self._last: tuple[int, dict[str, Any]] | None = None
        self._asked_at = -self.FRESH

    def now(self) -> tuple[int, dict[str, Any]]:
        # While somebody asks, the others are told what was so before.
        if self._lock.acquire(blocking=self._last is None):
            try:
                if time.monotonic() - self._asked_at >= self.FRESH:
                    self._last = _check()
                    self._asked_at = time.monotonic()
            finally:
                self._lock.release()
        assert self._last is not None
        return self._last


readiness = Readiness()


def _check() -> tuple[int, dict[str, Any]]:
    try:
        if complaint := schema.complaint():
            return 503, {"status": "unavailable", "database": complaint}
        processes = heartbeats.count_alive()
    except DatabaseError as error:
        return 503, _describe_database_error(error)
    broker_state = _check_broker()
    complete = broker_state["broker"] == "ok" and all(
        found["alive"] for found in processes.values()
    )
    status = "ok" if complete else "degraded"
    said = {"status": status, "database": "ok", **broker_state, **processes}
    return 200, said | {"time_zones": settings.TIME_ZONE_RULES.version}


def _describe_database_error(error: DatabaseError) -> dict[str, str]:
    if isinstance(error.__cause__, Unfit):
        return {"status": "unavailable", "database": "unfit", "reason": str(error)}
    return {"status": "unavailable", "database": "unreachable"}


def _check_broker() -> dict[str, str]:
    try:
        broker.check_usable(settings.REDIS_URL)
    except (redis.RedisError, OSError):
        return {"broker": "unreachable"}
    except broker.UnusableBroker as reason:
        return {"broker": "unfit", "reason": str(reason)}
    return {"broker": "ok"}
