"""Whether a URL may be called, by the settings of this service."""

from __future__ import annotations

from django.conf import settings

from tasks_api.domain import guard


def refusal(url: object) -> str | None:
    """Why not, in a sentence for whoever gave it; None when it may be called."""
    try:
        guard.parse_target(
            url,
            allow_private=settings.SCHEDULER_ALLOW_PRIVATE_TARGETS,
            denied=settings.SCHEDULER_DENIED_NETWORKS,
        )
    except guard.RefusedTarget as refused:
        return str(refused)
    return None
