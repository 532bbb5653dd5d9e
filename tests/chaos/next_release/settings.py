"""Those of the service, with one application more."""

from __future__ import annotations

from scheduler_service.settings import *  # noqa: F403 (all of them)
from scheduler_service.settings import INSTALLED_APPS as ALL

INSTALLED_APPS = [*ALL, "tests.chaos.next_release"]
