"""Plans in the admin: quotas that several tenants have."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from accounts import audit
from accounts.admin.forms import form_changes
from accounts.models import Plan
from accounts.services.quotas import QUOTA_NAMES


@admin.register(Plan)
class PlanAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    fields = ("name", *QUOTA_NAMES)
    list_display = ("name", *QUOTA_NAMES, "created_at")
    ordering = ("name",)
    show_full_result_count = False

    def save_model(
        self, request: HttpRequest, obj: Plan, form: Any, change: bool
    ) -> None:
        super().save_model(request, obj, form, change)
        changes = form_changes(form)
        action = "plan.change" if change else "plan.create"
        audit.record(None, action, [obj.name] if changes else [], changes)

    def delete_model(self, request: HttpRequest, obj: Plan) -> None:
        name = obj.name
        super().delete_model(request, obj)
        audit.record(None, "plan.delete", [name])

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """One at a time: the plan of a tenant is kept, and each deletion is audited."""
        return obj is not None and super().has_delete_permission(request, obj)
