"""Sets up Django when it is imported: import it before any module of the service."""

from __future__ import annotations

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scheduler_service.settings")
# With a key, loading the settings makes no file; the parts inherit it.
os.environ.setdefault(
    "SECRET_KEY", "only-for-benchmarks-0123456789-0123456789-0123456789"
)
django.setup()
