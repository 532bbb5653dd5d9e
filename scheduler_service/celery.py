"""The Celery application; settings.py configures it."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, signals
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from scheduler_service.compat.kombu_redis import survive_broker_loss

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scheduler_service.settings")
# Celery would run Django's system checks in each worker and beat and ignore their messages.
# They load every view, which neither needs; start.check_or_exit() runs those that matter.
os.environ.setdefault("CELERY_SKIP_CHECKS", "true")

survive_broker_loss()
SETTING_PREFIX = "CELERY_"


@signals.setup_logging.connect
def _keep_logging(**kwargs: Any) -> None:
    """Without a receiver Celery sets the root logger to WARNING, whatever LOG_LEVEL is."""


class _CelerySettings:
    """Django's settings that begin with CELERY_, under Celery's own names.

    Celery shows its settings to every client that asks, and masks the password of
    `broker_url` only if it is called so.
    """

    def __dir__(self) -> list[str]:
        ours = [name for name in dir(settings) if name.startswith(SETTING_PREFIX)]
        return [name.removeprefix(SETTING_PREFIX).lower() for name in ours]

    def __getattr__(self, name: str) -> Any:
        if not name.islower():
            raise AttributeError(name)
        return getattr(settings, SETTING_PREFIX + name.upper())


class _Celery(Celery):
    def _load_config(self) -> Any:
        try:
            return super()._load_config()  # type: ignore[misc]  # missing in the stubs
        except ImproperlyConfigured as error:
            # The operator needs one sentence; Celery would show a traceback.
            raise SystemExit(str(error)) from error


app = _Celery("scheduler_service")
app.config_from_object(_CelerySettings())
app.autodiscover_tasks()
