"""The health checks in the OpenAPI document, whose generator skips plain views."""

from __future__ import annotations

from typing import Any

from tasks_api.api.products import Product

_PROCESSES = {
    "type": "object",
    "required": ["alive", "last_seen_seconds"],
    "properties": {
        "alive": {
            "type": "integer",
            "minimum": 0,
            "description": "How many of them were seen lately.",
        },
        "last_seen_seconds": {
            "type": "number",
            "nullable": True,
            "description": "Seconds since one of them was last seen; null if none was.",
        },
    },
}
_ALIVE = {
    "type": "object",
    "required": ["status"],
    "properties": {
        "status": {
            "type": "string",
            "enum": ["ok"],
            "description": "Always `ok`: a process that is not alive does not answer.",
        }
    },
}
_READY = {
    "type": "object",
    "required": ["status", "database"],
    "properties": {
        "status": {
            "type": "string",
            "enum": ["ok", "degraded", "unavailable"],
            "description": "`ok` when everything is there, `degraded` when runs are only "
            "delayed, and `unavailable` with status 503.",
        },
        "database": {
            "type": "string",
            "description": "`ok`, or what is wrong with the database.",
        },
        "broker": {
            "type": "string",
            "description": "`ok`, or what is wrong with the broker.",
        },
        "reason": {
            "type": "string",
            "description": "Why the database or the broker is unfit, where it is.",
        },
        "beats": {
            **_PROCESSES,
            "description": "The beats, which ring workers and rescue runs.",
        },
        "workers": {**_PROCESSES, "description": "The workers, which send requests."},
        "time_zones": {
            "type": "string",
            "description": "The version of the time zone rules in use.",
        },
        "cell": {
            "type": "string",
            "description": "The name of the cell, where there are several.",
        },
    },
}
_SEEN = {"alive": 1, "last_seen_seconds": 1.5}
_ALL_THERE = {
    "status": "ok",
    "database": "ok",
    "broker": "ok",
    "beats": _SEEN,
    "workers": _SEEN,
    "time_zones": "2026f",
}


def _answer(text: str, schema: dict[str, Any], example: object) -> dict[str, Any]:
    content = {"schema": schema, "examples": {"answer": {"value": example}}}
    return {"description": text, "content": {"application/json": content}}


def _describe_check(
    product: Product,
    name: str,
    summary: str,
    description: str,
    responses: dict[str, Any],
) -> dict[str, Any]:
    return {
        "get": {
            "operationId": name,
            "summary": summary,
            "description": description,
            "tags": [product.value],
            "security": [],
            "responses": responses,
        }
    }


PATHS = {
    "/healthz/": _describe_check(
        Product.OPERATIONS,
        "check_health",
        "Check that a web process is alive",
        "Answers 200 as long as the web process lives, and asks neither the database nor "
        "Redis. Use it as the liveness probe that restarts a process.",
        {"200": _answer("The process is alive.", _ALIVE, {"status": "ok"})},
    ),
    "/readyz/": _describe_check(
        Product.OPERATIONS,
        "check_readiness",
        "Check that the service is ready",
        "Says whether the database, Redis, the beats and the workers are there. Use it as "
        "the readiness probe that takes a web process out of a load balancer: it answers 503 "
        "only while the database is unusable. Other outages delay runs, and result in 200 with "
        "the status `degraded`.",
        {
            "200": _answer("Requests can be served.", _READY, _ALL_THERE),
            "503": _answer(
                "The database cannot be used at the moment.",
                _READY,
                {"status": "unavailable", "database": "unreachable"},
            ),
        },
    ),
    "/health/": _describe_check(
        Product.PULL_QUEUE,
        "check_queue",
        "Check that the queue is alive",
        "Answers 200 without a body as long as the web process lives, for clients of the "
        "pull queue. `/readyz` says more.",
        {"200": {"description": "The process is alive."}},
    ),
}
