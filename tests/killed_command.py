"""A management command that ends by SIGKILL at a step: `python -m tests.killed_command`.

Its arguments are the step, and then the command with its own. It is killed by itself, in
the moment in which it would report the step to its standard error.
"""

from __future__ import annotations

import os
import signal
import sys
from io import TextIOBase

import django
from django.core.management import call_command


class FatalStep(TextIOBase):
    """A standard error that lets nobody live who reports a step."""

    def __init__(self, step: str) -> None:
        super().__init__()
        self._step = step

    def write(self, text: str) -> int:
        sys.stderr.write(text)
        sys.stderr.flush()
        if text.startswith(self._step):
            os.kill(os.getpid(), signal.SIGKILL)
        return len(text)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scheduler_service.settings")
    django.setup()
    step, *command = sys.argv[1:]
    call_command(*command, stderr=FatalStep(step))
