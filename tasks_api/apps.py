"""Tasks as a Django application."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig
from django.core.checks import Tags, register
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate

from accounts.refusals import URL_REFUSALS
from scheduler_service.checks import (
    check_networks,
    check_open_metrics,
    check_secrets,
    check_settings,
    check_shared_secret,
    check_time_zones,
    tell_time_zones,
)
from scheduler_service.database import give_up_in_time
from tasks_api import run_key, targets


class TasksApiConfig(AppConfig):
    name = "tasks_api"
    verbose_name = "Tasks"

    def ready(self) -> None:
        register(check_settings)
        register(check_shared_secret)
        register(check_networks)
        register(check_time_zones)
        register(tell_time_zones, deploy=True)
        register(check_open_metrics)
        register(check_secrets, Tags.database)
        # It follows what becomes of users, and needs models.
        import_module("tasks_api.owners")
        connection_created.connect(give_up_in_time)
        URL_REFUSALS.append(targets.refusal)
        post_migrate.connect(run_key.make, sender=self)
