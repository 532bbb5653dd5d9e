"""Is the service alive, and is it ready: for load balancers and for people."""

from __future__ import annotations

import redis
from django.conf import settings
from django.db import Error as DatabaseError
from django.http import HttpRequest, JsonResponse

from scheduler_service.primaries import Unfit
from tasks_api import broker, heartbeats


def healthz(request: HttpRequest) -> JsonResponse:
    """This process lives. Asks nobody."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    """200 while the database answers. What else is missing only delays runs."""
    try:
        processes = heartbeats.census()
    except DatabaseError as error:
        return JsonResponse(_without_database(error), status=503)
    broker_state = _broker()
    complete = broker_state["broker"] == "ok" and all(
        found["alive"] for found in processes.values()
    )
    status = "ok" if complete else "degraded"
    return JsonResponse(
        {"status": status, "database": "ok", **broker_state, **processes}
    )


def _without_database(error: DatabaseError) -> dict[str, str]:
    if isinstance(error.__cause__, Unfit):
        return {"status": "unavailable", "database": "unfit", "reason": str(error)}
    return {"status": "unavailable", "database": "unreachable"}


def _broker() -> dict[str, str]:
    try:
        broker.try_out(settings.REDIS_URL)
    except (redis.RedisError, OSError):
        return {"broker": "unreachable"}
    except broker.Unfit as reason:
        return {"broker": "unfit", "reason": str(reason)}
    return {"broker": "ok"}
