"""The names of the objects of audit entries, as far as the objects are still there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from uuid import UUID

from accounts.models import Tenant, Token
from tasks_api.domain.specs import Surface
from tasks_api.models import Channel, NotificationRule, Task


def find_names(tenant: Tenant, ids: Collection[str]) -> Mapping[str, str]:
    """The names of tasks, channels, rules and tokens of a tenant by their ids.

    Uses a statement for each of the four. Other texts are left out.
    """
    uuids = [found for found in map(_to_uuid, ids) if found]
    tasks = Task.objects.for_tenant(tenant).filter(pk__in=uuids)
    channels = Channel.objects.filter(tenant=tenant, pk__in=uuids)
    rules = NotificationRule.objects.filter(tenant=tenant, pk__in=uuids)
    tokens = Token.objects.filter(user__tenant=tenant, uuid__in=uuids)
    return {
        **{str(task.pk): _name_task(task) for task in tasks},
        **{str(channel.pk): channel.name for channel in channels},
        **{str(rule.pk): ", ".join(rule.events) for rule in rules},
        **{str(token.uuid): token.name or f"{token.prefix}…" for token in tokens},
    }


def _name_task(task: Task) -> str:
    if task.surface == Surface.NOTICES:
        return "a message of a channel"
    return task.name or str(task)


def _to_uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
