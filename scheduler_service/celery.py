"""The Celery application; everything it is told stands in settings.py."""

from __future__ import annotations

import os

from celery import Celery

from scheduler_service.celery_compat import outlive_redis

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scheduler_service.settings")

outlive_redis()

app = Celery("scheduler_service")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
