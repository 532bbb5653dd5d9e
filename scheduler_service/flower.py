"""Start Flower with its handlers patched; `manage.py flower` runs this module."""

from __future__ import annotations

import sys

from celery.bin.celery import main as celery

from scheduler_service.compat.flower_handlers import (
    read_queues_by_celery,
    require_passwords,
)


def main() -> None:
    require_passwords()
    read_queues_by_celery()
    sys.argv = ["celery", "--quiet", "-A", "scheduler_service", "flower"]
    sys.exit(celery())


if __name__ == "__main__":
    main()
