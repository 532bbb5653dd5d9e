"""The Django project: settings, Celery, URLs, and how its processes are run."""

from __future__ import annotations

from scheduler_service.celery import app as celery_app

__all__ = ["celery_app"]
