"""The key of run ids, which is created once and is part of every backup."""

from __future__ import annotations

import secrets
from typing import Any

from django.apps import apps as all_apps
from django.apps.registry import Apps
from django.db import connections


def create_run_key(*, using: str, apps: Apps = all_apps, **kwargs: Any) -> None:
    """Create the key if there is none, after each migration and each flush."""
    if "runidkey" not in apps.all_models["tasks_api"]:
        return
    with connections[using].cursor() as cursor:
        cursor.execute(
            "INSERT INTO tasks_api_runidkey (id, key) VALUES (1, %s)"
            " ON CONFLICT DO NOTHING",
            [secrets.token_bytes(32)],
        )
