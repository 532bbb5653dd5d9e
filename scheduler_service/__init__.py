"""The Django project: settings, Celery, URLs, and how its processes are run."""

from __future__ import annotations

# The version of the service; nothing else states one.
__version__ = "1.0.0"

from scheduler_service.celery import app as celery_app

__all__ = ["__version__", "celery_app"]
