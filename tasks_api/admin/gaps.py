"""Show when no worker or no beat was at work, and when the broker took no messages."""

from __future__ import annotations

from datetime import timedelta

from django.contrib import admin

from scheduler_service.db import clock
from tasks_api.admin.lists import BoundedList, ReadOnlyMixin
from tasks_api.models import HeartbeatGap


@admin.register(HeartbeatGap)
class HeartbeatGapAdmin(ReadOnlyMixin, BoundedList):
    """The newest gap comes first. The open one of a kind is mostly some moments old."""

    list_display = (
        "kind",
        "began_at",
        "ended_at",
        "length",
        "is_survived",
        "is_restart",
    )
    list_filter = ("kind",)
    ordering = ("-began_at", "-pk")
    fields = readonly_fields = list_display

    @admin.display
    def length(self, gap: HeartbeatGap) -> timedelta:
        seconds = ((gap.ended_at or clock.now()) - gap.began_at).total_seconds()
        return timedelta(seconds=round(seconds))
