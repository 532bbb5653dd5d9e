"""Tasks as a Django application."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import Tags, register
from django.db.models.signals import post_migrate

from accounts.url_checks import URL_CHECKS
from scheduler_service.startup.checks import CHECKS, check_secrets, report_time_zones
from tasks_api.delivery import targets
from tasks_api.storage import run_key


class TasksApiConfig(AppConfig):
    name = "tasks_api"
    verbose_name = "Tasks"

    def ready(self) -> None:
        for check in CHECKS:
            register(check, "settings")
        register(report_time_zones, deploy=True)
        register(check_secrets, Tags.database)
        URL_CHECKS.append(targets.refusal)
        post_migrate.connect(run_key.create_run_key, sender=self)
