"""The page of what is stuck or overdue: what an operator looks at first."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from scheduler_service.db import clock
from tasks_api.monitoring import heartbeats
from tasks_api.services import operator_views


class StuckPageMixin(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    """Shows the page beside the list of tasks, to those who may view tasks."""

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.stuck_view)
        own: list[URLPattern] = [path("stuck/", view, name="tasks_api_stuck")]
        # Before the ids, which could be any text.
        return own + super().get_urls()

    def stuck_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        workers = int(heartbeats.count_alive()["workers"]["alive"] or 0)
        context = {
            **self.admin_site.each_context(request),
            "title": "Stuck or overdue",
            "opts": self.opts,
            "now": clock.now(),
            "workers": workers,
            "patience": operator_views.PATIENCE,
            "max_rows": operator_views.MAX_ROWS,
            "found": operator_views.find_stuck(workers=workers),
        }
        return TemplateResponse(request, "admin/tasks_api/stuck.html", context)
