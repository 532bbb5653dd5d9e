"""Tasks as a Django application."""

from __future__ import annotations

from django.apps import AppConfig


class TasksApiConfig(AppConfig):
    name = "tasks_api"
    verbose_name = "Tasks"
