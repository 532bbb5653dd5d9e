"""Show how far the hours of each tenant are closed."""

from __future__ import annotations

from datetime import timedelta

from django.contrib import admin

from scheduler_service.db import clock
from tasks_api.admin.lists import BoundedList, ReadOnlyMixin
from tasks_api.models import RollupProgress


@admin.register(RollupProgress)
class RollupProgressAdmin(ReadOnlyMixin, BoundedList):
    """The tenants that are the furthest behind come first."""

    list_display = ("tenant", "closed_until", "behind", "closed_from")
    list_select_related = ("tenant",)
    ordering = ("closed_until", "pk")
    search_fields = ("tenant__name",)
    fields = readonly_fields = list_display

    @admin.display
    def behind(self, progress: RollupProgress) -> timedelta:
        seconds = (clock.now() - progress.closed_until).total_seconds()
        return timedelta(seconds=round(seconds))
