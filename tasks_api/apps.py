"""Tasks as a Django application."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import Tags, register
from django.db.backends.signals import connection_created

from scheduler_service.checks import check_open_metrics, check_secrets, check_settings
from scheduler_service.database import give_up_in_time


class TasksApiConfig(AppConfig):
    name = "tasks_api"
    verbose_name = "Tasks"

    def ready(self) -> None:
        register(check_settings)
        register(check_open_metrics)
        register(check_secrets, Tags.database)
        connection_created.connect(give_up_in_time)
