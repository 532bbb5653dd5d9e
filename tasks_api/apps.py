"""Tasks as a Django application."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register

from scheduler_service.checks import check_settings


class TasksApiConfig(AppConfig):
    name = "tasks_api"
    verbose_name = "Tasks"

    def ready(self) -> None:
        register(check_settings)
