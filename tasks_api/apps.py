"""Tasks as a Django application."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig
from django.core.checks import Tags, register
from django.db.models.signals import post_migrate

from accounts.refusals import URL_REFUSALS
from scheduler_service.checks import CHECKS, check_secrets, tell_time_zones
from tasks_api import run_key, targets


class TasksApiConfig(AppConfig):
    name = "tasks_api"
    verbose_name = "Tasks"

    def ready(self) -> None:
        for check in CHECKS:
            register(check)
        register(tell_time_zones, deploy=True)
        register(check_secrets, Tags.database)
        # It follows what becomes of users, and needs models.
        import_module("tasks_api.owners")
        URL_REFUSALS.append(targets.refusal)
        post_migrate.connect(run_key.make, sender=self)
