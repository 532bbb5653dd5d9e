"""Tenants in the admin with what they use; `accounts` knows nothing of tasks."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.admin.users import TenantAdmin
from accounts.models import Tenant
from tasks_api.admin.lists import BoundedList
from tasks_api.services import operator_views
from tasks_api.services.operator_statements import MAX_COUNTED_MESSAGES

admin.site.unregister(Tenant)


@admin.register(Tenant)
class TenantUsageAdmin(BoundedList, TenantAdmin):
    list_display = (
        "name",
        "tasks",
        "runs_of_a_day",
        "messages",
        "last_active_at",
        "masked_callback_url",
        "created_at",
    )
    ordering = ("name",)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changes = super().get_changelist_instance(request)
        tenants = changes.result_list = list(changes.result_list)
        found = operator_views.usage_of([tenant.pk for tenant in tenants])
        for tenant in tenants:
            tenant.usage = found[tenant.pk]
        return changes

    @admin.display
    def tasks(self, tenant: Any) -> SafeString:
        url = reverse("admin:tasks_api_task_changelist")
        return format_html(
            '<a href="{}?tenant__id__exact={}">{}</a>',
            url,
            tenant.pk,
            f"{tenant.usage.tasks:,}",
        )

    @admin.display(description="runs of a day")
    def runs_of_a_day(self, tenant: Any) -> SafeString:
        url = reverse("admin:tasks_api_run_changelist")
        return format_html(
            '<a href="{}?tenant__id__exact={}">{}</a>',
            url,
            tenant.pk,
            f"{tenant.usage.runs:,}",
        )

    @admin.display
    def messages(self, tenant: Any) -> str:
        count = tenant.usage.messages
        is_more = count > MAX_COUNTED_MESSAGES
        return f"{min(count, MAX_COUNTED_MESSAGES):,}{' or more' if is_more else ''}"

    @admin.display(description="last active")
    def last_active_at(self, tenant: Any) -> Any:
        return tenant.usage.last_active_at
