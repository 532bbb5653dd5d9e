"""A worker in a process of its own, which a test may kill at any moment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from django.db import connection

ROOT = Path(__file__).resolve().parents[3]
# The worker ends with its standard input, so none outlives its test.
_CODE = """
import sys
import django
django.setup()
from tasks_api.worker.engine import Engine
engine = Engine(on_recorded=lambda items: None, on_beat=lambda key: None)
engine.start()
sys.stdin.read()
engine.stop(grace=1)
"""


class WorkerProcess:
    def __init__(self, **environment: str) -> None:
        database = f"/{connection.settings_dict['NAME']}"
        url = urlsplit(os.environ["DATABASE_URL"])._replace(path=database).geturl()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CODE],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            env={
                **os.environ,
                "DATABASE_URL": url,
                "DJANGO_SETTINGS_MODULE": "scheduler_service.settings",
                "SCHEDULER_ALLOW_PRIVATE_TARGETS": "true",
                **environment,
            },
        )

    def kill(self) -> None:
        """End the process as kill -9 does."""
        self._process.kill()
        self._process.communicate()
