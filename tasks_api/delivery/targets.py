"""Check URLs of targets by the settings of the service."""

from __future__ import annotations

from django.conf import settings

from tasks_api.domain import guard


def refusal(url: object) -> str | None:
    """Why a URL may not be called, in a sentence for its author; None if it may be."""
    try:
        guard.parse_target(
            url,
            allow_private=settings.SCHEDULER_ALLOW_PRIVATE_TARGETS,
            denied=settings.SCHEDULER_DENIED_NETWORKS,
        )
    except guard.RefusedTarget as refused:
        return str(refused)
    return None
