"""Is the service alive, and is it ready: for load balancers and for people."""

from __future__ import annotations

from typing import Any

import redis
from django.conf import settings
from django.db import Error as DatabaseError
from django.http import HttpRequest, JsonResponse

from scheduler_service import schema
from scheduler_service.embedded import redis_client_url
from tasks_api import heartbeats


def healthz(request: HttpRequest) -> JsonResponse:
    """This process lives. Asks nobody."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    """200 while the database answers, and fits. What else is missing only delays runs."""
    try:
        if complaint := schema.complaint():
            return JsonResponse(
                {"status": "unavailable", "database": complaint}, status=503
            )
        processes = heartbeats.census()
    except DatabaseError:
        return JsonResponse(
            {"status": "unavailable", "database": "unreachable"}, status=503
        )
    broker = "ok" if _broker_answers() else "unreachable"
    complete = broker == "ok" and all(found["alive"] for found in processes.values())
    status = "ok" if complete else "degraded"
    return JsonResponse(
        {
            "status": status,
            "database": "ok",
            "broker": broker,
            **processes,
            "time_zones": settings.TIME_ZONE_RULES.version,
        }
    )


def _broker_answers() -> bool:
    url = redis_client_url(settings.REDIS_URL)
    timeouts: dict[str, Any] = {"socket_timeout": 1, "socket_connect_timeout": 1}
    try:
        with redis.Redis.from_url(url, **timeouts) as client:
            return bool(client.ping())
    except (redis.RedisError, OSError):
        return False
