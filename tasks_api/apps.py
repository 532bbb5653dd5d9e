"""Tasks as a Django application."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import Tags, register

from scheduler_service.checks import check_environment, check_secrets, check_settings


class TasksApiConfig(AppConfig):
    name = "tasks_api"
    verbose_name = "Tasks"

    def ready(self) -> None:
        register(check_settings)
        register(check_environment)
        register(check_secrets, Tags.database)
