"""A Celery worker that cannot be controlled through its broker, and logs what it prints.

Changes `control.Panel` and `apps.worker.safe_say` of Celery 5.7. Whoever writes to Redis
could stop a worker or read its settings, and Celery can only switch off all commands,
those that Flower needs included. Its signal handlers print to a descriptor that nobody may
read. Needed until Celery has settings for both.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any

from celery.apps import worker as apps_worker
from celery.worker import control


def disable_commands(*, except_for: Collection[str]) -> None:
    """Let every other remote control command answer with nothing."""
    panel: dict[str, Callable[..., Any]] = control.Panel.data
    for name in panel.keys() - set(except_for):
        # Without a handler, each call would log an error with a traceback.
        panel[name] = _do_nothing


def _do_nothing(_state: Any, **_kwargs: Any) -> dict[str, Any]:
    return {}


def log_instead_of_printing(logger: logging.Logger) -> None:
    """Send what Celery's signal handlers print to the log."""

    def safe_say(message: str, _file: Any = None) -> None:
        logger.info("%s", message.strip())

    worker: Any = apps_worker
    worker.safe_say = safe_say
