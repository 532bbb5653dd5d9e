"""Celery knows its own settings alone, and shows no secret among them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from celery import current_app
from django.conf import settings

SECRETS = {
    "REDIS_SENTINEL_MASTER": "main",
    "REDIS_SENTINEL_PASSWORD": "hunter2-w",
    "FLOWER_BASIC_AUTH": "flower:hunter2-f",
    "ENDPOINT": "https://me:hunter2-e@example.com/hook",
    "SECRET": "hunter2-s",
    "METRICS_TOKEN": "hunter2-m",
    "SECRET_KEY": "hunter2-k",
}


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2-r@127.0.0.1:9/0",
        "rediss://me:hunter2-r@127.0.0.1:9/0",
        "sentinel://:hunter2-r@127.0.0.1:9;sentinel://:hunter2-r@127.0.0.1:8",
        "amqp://me:hunter2-r@127.0.0.1:9//",
        "amqps://me:hunter2-r@127.0.0.1:9//;amqps://me:hunter2-r@127.0.0.1:8//",
    ],
)
def test_a_report_shows_no_password(url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "scheduler_service", "report"],
        env=os.environ | SECRETS | {"REDIS_URL": "", "CELERY_BROKER_URL": url},
        capture_output=True,
        text=True,
    )

    assert "broker_url" in done.stdout.lower(), done.stderr
    assert "hunter2" not in done.stdout + done.stderr


def test_workers_and_beats_load_no_views() -> None:
    program = (
        "import sys\n"
        "from scheduler_service.celery import app\n"
        "app.loader.import_default_modules()\n"
        "print('tasks_api.worker.engine' in sys.modules, 'rest_framework.views' in sys.modules)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )

    assert done.stdout == "True False\n", done.stderr


def test_celery_has_its_own_settings_alone() -> None:
    told = current_app.conf.table(with_defaults=False, censored=False)

    assert current_app.conf.task_default_queue == settings.CELERY_TASK_DEFAULT_QUEUE
    assert current_app.conf.worker_pool == "threads"
    assert not {"REDIS_URL", "DATABASES", "ENDPOINT", "SECRET_KEY"} & set(told)
    assert not hasattr(current_app.conf, "REDIS_URL")
