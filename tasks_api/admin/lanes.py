"""Show the lanes of tenants, and let operators set their ceilings."""

from __future__ import annotations

from django.contrib import admin
from django.forms import ModelForm
from django.http import HttpRequest

from accounts import audit
from tasks_api.admin.lists import BoundedList, ReadOnlyMixin
from tasks_api.models import Lane, LaneCeiling


@admin.register(Lane)
class LaneAdmin(ReadOnlyMixin, BoundedList):
    list_display = (
        "name",
        "tenant",
        "host",
        "rate_limit",
        "rate_per",
        "concurrency",
        "paused_at",
        "slowdown",
        "breaker_state",
        "next_slot_at",
    )
    list_select_related = ("tenant",)
    ordering = ("-pk",)
    search_fields = ("name__startswith", "tenant__name")
    search_help_text = "The beginning of a name, or a part of a tenant's name."
    fields = readonly_fields = (
        *list_display,
        "burst",
        "hold_reason",
        "resume_at",
        "held_until",
        "breaker_after",
        "breaker_for",
        "breaker_until",
        "failures",
        "line_ends_at",
        "created_at",
    )


@admin.register(LaneCeiling)
class LaneCeilingAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    list_display = ("tenant", "max_per_second", "max_concurrency")
    list_select_related = ("tenant",)
    search_fields = ("tenant__name",)
    raw_id_fields = ("tenant",)

    def save_model(
        self,
        request: HttpRequest,
        obj: LaneCeiling,
        form: ModelForm[LaneCeiling],
        change: bool,
    ) -> None:
        super().save_model(request, obj, form, change)
        changes = {
            name: (form.initial.get(name), form.cleaned_data[name])
            for name in form.changed_data
            if name != "tenant"
        }
        audit.record(obj.tenant_id, "lane.ceiling", [obj.tenant_id], changes)
