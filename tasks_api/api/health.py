"""Is the service alive, and is it ready: for load balancers and for people."""

from __future__ import annotations

from typing import Any

import redis
from django.conf import settings
from django.db import Error as DatabaseError
from django.http import HttpRequest, JsonResponse

from scheduler_service.embedded import redis_client_url
from scheduler_service.primaries import Unfit
from tasks_api import heartbeats


def healthz(request: HttpRequest) -> JsonResponse:
    """This process lives. Asks nobody."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    """200 while the database answers. What else is missing only delays runs."""
    try:
        processes = heartbeats.census()
    except DatabaseError as error:
        return JsonResponse(_without_database(error), status=503)
    broker = "ok" if _broker_answers() else "unreachable"
    complete = broker == "ok" and all(found["alive"] for found in processes.values())
    status = "ok" if complete else "degraded"
    return JsonResponse(
        {"status": status, "database": "ok", "broker": broker, **processes}
    )


def _without_database(error: DatabaseError) -> dict[str, str]:
    if isinstance(error.__cause__, Unfit):
        return {"status": "unavailable", "database": "unfit", "reason": str(error)}
    return {"status": "unavailable", "database": "unreachable"}


def _broker_answers() -> bool:
    url = redis_client_url(settings.REDIS_URL)
    timeouts: dict[str, Any] = {"socket_timeout": 1, "socket_connect_timeout": 1}
    try:
        with redis.Redis.from_url(url, **timeouts) as client:
            return bool(client.ping())
    except (redis.RedisError, OSError):
        return False
