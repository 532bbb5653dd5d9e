"""The entries of the audit log, as tests compare them."""

from __future__ import annotations

from typing import Any

from accounts.models import AuditEntry


def logged_actions(**filters: Any) -> list[tuple[str, str, str, str]]:
    found = AuditEntry.objects.filter(**filters).order_by("id")
    return [(e.actor, e.via, e.action, e.object_id) for e in found]
