"""The active rules of tenants, as a process knows them: read again every few seconds.

So a run of a tenant without rules costs the lookup of a key.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence

from tasks_api.models import NotificationRule

# Seconds after which every process knows a new rule.
RULES_LIFETIME = 5.0

Rules = Sequence[NotificationRule]

_known: dict[int, tuple[float, Rules]] = {}


def load(tenant_ids: Collection[int]) -> Mapping[int, Rules]:
    """The active rules of those tenants that have some."""
    wanted = set(tenant_ids)
    now = time.monotonic()
    stale = {pk for pk in wanted if pk not in _known or _known[pk][0] <= now}
    if stale:
        _read(stale, until=now + RULES_LIFETIME)
    return {pk: rules for pk in wanted if (rules := _known[pk][1])}


def forget(tenant_id: int) -> None:
    """Let this process read the rules of a tenant anew. Others follow in seconds."""
    _known.pop(tenant_id, None)


def _read(tenant_ids: set[int], *, until: float) -> None:
    found: dict[int, list[NotificationRule]] = {pk: [] for pk in tenant_ids}
    rules = NotificationRule.objects.active().filter(tenant__in=tenant_ids)
    for rule in rules.order_by("tenant", "id"):
        found[rule.tenant_id].append(rule)
    _known.update({pk: (until, tuple(rules)) for pk, rules in found.items()})
