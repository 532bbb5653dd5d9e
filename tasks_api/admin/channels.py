"""Show channels, rules and the notices that wait; the settings of channels are secret."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest

from tasks_api.admin.lists import BoundedList, ReadOnlyMixin
from tasks_api.models import Channel, NotificationRule, PendingNotice


@admin.register(Channel)
class ChannelAdmin(ReadOnlyMixin, BoundedList):
    list_display = (
        "name",
        "tenant",
        "kind",
        "is_paused",
        "max_per_hour",
        "sent_in_hour",
        "hour",
        "created_at",
    )
    list_select_related = ("tenant",)
    ordering = ("-pk",)
    search_fields = ("name__startswith", "tenant__name")
    search_help_text = "The beginning of a name, or a part of a tenant's name."
    # Without sealed_settings: a URL or a key stands in it.
    fields = readonly_fields = (
        "id",
        "tenant",
        "owner",
        "name",
        "kind",
        "is_paused",
        "max_per_hour",
        "hour",
        "sent_in_hour",
        "created_at",
    )

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        is_secret = lookup.startswith("sealed_settings")
        return not is_secret and super().lookup_allowed(lookup, value, request)


@admin.register(NotificationRule)
class NotificationRuleAdmin(ReadOnlyMixin, BoundedList):
    list_display = (
        "id",
        "tenant",
        "channel",
        "events",
        "task",
        "tag",
        "is_paused",
        "created_at",
    )
    list_select_related = ("tenant", "channel", "task")
    ordering = ("-pk",)
    search_fields = ("tenant__name", "channel__name")
    search_help_text = "A part of the name of a tenant or a channel."
    fields = readonly_fields = (
        "id",
        "tenant",
        "channel",
        "events",
        "task",
        "tag",
        "streak",
        "late_after",
        "digest_seconds",
        "quiet_from",
        "quiet_until",
        "quiet_zone",
        "is_paused",
        "created_at",
    )


@admin.register(PendingNotice)
class PendingNoticeAdmin(ReadOnlyMixin, BoundedList):
    list_display = (
        "at",
        "tenant",
        "channel",
        "type",
        "task_name",
        "count",
        "send_at",
        "is_held",
    )
    list_select_related = ("tenant", "channel")
    ordering = ("-pk",)
    fields = readonly_fields = (*list_display, "reason", "run_id")
