"""Create, change and remove the rules that say what a tenant is told of, and where."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from accounts import audit
from accounts.models import Tenant, User
from tasks_api.domain.exceptions import InvalidState, InvalidTask, RuleNotFound
from tasks_api.domain.notices import ChannelKind, Event
from tasks_api.domain.specs import Surface
from tasks_api.models import Channel, NotificationRule, Task
from tasks_api.services import rule_cache
from tasks_api.services.channels import lock_tenant

MAX_RULES = 200
DEFAULT_STREAK = 3
DEFAULT_LATE_AFTER = 60
# The notification URL is told of these without a rule.
BUILT_IN_EVENTS = frozenset({Event.TASK_PAUSED, Event.TASK_ENDED})
_AUDITED = (
    *("channel_id", "events", "task_id", "tag", "streak", "late_after"),
    *("digest_seconds", "quiet_from", "quiet_until", "quiet_zone", "is_paused"),
)


def list_rules(tenant: Tenant) -> QuerySet[NotificationRule]:
    return NotificationRule.objects.filter(tenant=tenant)


def list_with_names(tenant: Tenant) -> list[NotificationRule]:
    """The rules of a tenant with their channels and tasks, the oldest first."""
    found = list_rules(tenant).select_related("channel", "task")
    return list(found.order_by("pk")[:MAX_RULES])


def find_task(tenant: Tenant, text: str) -> UUID:
    """The living task of a name, or the task of an id. Raises InvalidTask."""
    tasks = Task.objects.for_tenant(tenant).exclude(surface=Surface.NOTICES)
    named = tasks.filter(surface__in=list(Surface), name=text, ended_at=None)
    found = list(named.exclude(name="").values_list("pk", flat=True)[:2])
    if len(found) > 1:
        raise InvalidTask("task_id", "Several tasks have this name; give the id of one")
    if found:
        return found[0]
    try:
        return tasks.values_list("pk", flat=True).get(pk=UUID(text))
    except (ValueError, Task.DoesNotExist):
        raise InvalidTask("task_id", "There is no task of this name or id") from None


def get_rule(tenant: Tenant, rule_id: UUID) -> NotificationRule:
    rule = list_rules(tenant).filter(pk=rule_id).first()
    if rule is None:
        raise RuleNotFound("Rule not found")
    return rule


@transaction.atomic
def create_rule(user: User, fields: Mapping[str, Any]) -> NotificationRule:
    """Create a rule; `fields` are columns. Every process follows it within seconds."""
    tenant = lock_tenant(user)
    if tenant.notification_rules.count() >= MAX_RULES:
        raise InvalidState(f"A tenant has at most {MAX_RULES} rules")
    defaults = {"streak": DEFAULT_STREAK, "late_after": DEFAULT_LATE_AFTER}
    rule = NotificationRule(tenant=tenant, **{**defaults, **fields})
    _check(rule)
    rule.save()
    rule_cache.forget(tenant.pk)
    audit.record(tenant.pk, "rule.create", [rule.pk], _changes({}, rule))
    return rule


@transaction.atomic
def change_rule(
    user: User, rule_id: UUID, fields: Mapping[str, Any]
) -> NotificationRule:
    """Change the given columns of a rule; the others stay."""
    rule = _lock(user, rule_id)
    before = _audited(rule)
    for name, value in fields.items():
        setattr(rule, name, value)
    _check(rule)
    rule.save()
    rule_cache.forget(rule.tenant_id)
    changes = _changes(before, rule)
    audit.record(rule.tenant_id, "rule.change", [rule.pk] if changes else [], changes)
    return rule


@transaction.atomic
def remove_rule(user: User, rule_id: UUID) -> None:
    """Remove a rule. Its notices that were not sent yet are not sent any more."""
    rule = _lock(user, rule_id)
    rule.delete()
    rule_cache.forget(rule.tenant_id)
    audit.record(rule.tenant_id, "rule.remove", [rule_id])


def _lock(user: User, rule_id: UUID) -> NotificationRule:
    rules = NotificationRule.objects.filter(tenant=user.tenant_id, pk=rule_id)
    rule = rules.select_for_update(no_key=True).first()
    if rule is None:
        raise RuleNotFound("Rule not found")
    return rule


def _check(rule: NotificationRule) -> None:
    """Raise InvalidTask if the parts of a rule do not fit, or are not the tenant's."""
    channels = Channel.objects.filter(tenant=rule.tenant_id, pk=rule.channel_id)
    channel = channels.first()
    if channel is None:
        raise InvalidTask(
            "channel_id", "Invalid value of channel_id. There is no such channel"
        )
    if rule.task_id is not None and rule.tag:
        raise InvalidTask("tag", "A rule is about a task or about a tag, not both")
    if rule.task_id and not _is_task_of(rule.tenant_id, rule.task_id):
        raise InvalidTask("task_id", "Invalid value of task_id. There is no such task")
    built_in = BUILT_IN_EVENTS.intersection(rule.events)
    if channel.kind == ChannelKind.NOTIFICATION_URL and built_in:
        raise InvalidTask(
            "events",
            f"Invalid value of events. The notification URL gets {min(built_in)} "
            "without a rule",
        )


def _is_task_of(tenant_id: int, task_id: UUID) -> bool:
    tasks = Task.objects.filter(tenant=tenant_id, pk=task_id)
    return tasks.exclude(surface=Surface.NOTICES).exists()


def _audited(rule: NotificationRule) -> dict[str, Any]:
    values = {name: getattr(rule, name) for name in _AUDITED}
    return {
        name: value if isinstance(value, bool | int | list | None) else str(value)
        for name, value in values.items()
    }


def _changes(before: Mapping[str, Any], rule: NotificationRule) -> audit.Changes:
    return audit.find_changes(before, _audited(rule))
